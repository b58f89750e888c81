"""Dense attention compared with plans: its price, and reports where it is as fast."""

from __future__ import annotations

import json
import logging

import pytest
import torch

import attncc
from attncc.planner.dense import AS_FAST, is_as_fast, is_causal, verdict


@attncc.pattern
def scattered(i, j, *, share: int):
    return (7919 * i + 104729 * j + i * j % 1009) % 1000003 < share


@attncc.pattern
def nothing(i, j):
    return (j > i) & (j < i - 5)


@pytest.mark.parametrize(
    ("name", "causal"), [("causal", True), ("strided", True), ("fixed", True), ("full", False), ("prefix", False)]
)
def test_dense_attention_is_causal_where_the_pattern_provably_is(name: str, causal: bool) -> None:
    pattern = attncc.load(name)
    assert is_causal(pattern.predicate) is attncc.plan(pattern, 512).dense.causal is causal


@pytest.mark.parametrize(("q_len", "kv_len", "q_offset"), [(40, 40, 0), (8, 40, 32), (40, 16, 0), (5, 9, 20)])
def test_causal_prices_count_pairs_below_the_diagonal(q_len: int, kv_len: int, q_offset: int) -> None:
    causal, full = (
        attncc.plan(attncc.load(name), q_len, kv_len, q_offset=q_offset).dense.seconds for name in ("causal", "full")
    )
    pairs = attncc.dense_mask(attncc.load("causal"), q_len, kv_len, q_offset=q_offset).float().mean()
    rows = attncc.plan(attncc.load("full"), q_len, 0).dense.seconds
    assert (causal - rows) / (full - rows) == pytest.approx(float(pairs))


def test_plans_report_where_dense_attention_is_as_fast() -> None:
    slow, fast = attncc.plan(scattered(share=20_000), 1024), attncc.plan(attncc.load("strided", l=128), 16384)
    assert "dense attention is as fast" in slow.explain()
    assert "dense attention is as fast" not in fast.explain()
    assert "predicted to take" in fast.explain()
    described = slow.describe()["dense"]
    assert described["as_fast"] is True
    assert described["over"] == pytest.approx(slow.dense.over)


def test_comparisons_sum_over_groups_of_heads() -> None:
    one, other = attncc.load("causal"), attncc.load("sliding_window", window=64)
    mixed = attncc.plan(attncc.per_head([one, other]), 4096, heads=2)
    times = [attncc.plan(pattern, 4096).groups[0].alternatives[0].seconds for pattern in (one, other)]
    assert mixed.dense.over == pytest.approx(2 * mixed.dense.seconds / sum(times))


def test_empty_patterns_have_no_comparison() -> None:
    plan = attncc.plan(nothing(), 64)
    assert plan.dense.over is None
    assert "Infinity" not in json.dumps(plan.describe())
    assert "dense" not in plan.explain()


def test_verdicts_depend_on_the_ratio() -> None:
    assert is_as_fast(AS_FAST - 0.01)
    assert not is_as_fast(AS_FAST)
    assert not is_as_fast(None)
    assert verdict(None) == verdict(2.0) == ""
    assert verdict(0.8, "took", "forward") == (
        "forward: dense attention is as fast at this length: it took 0.80 x the pattern's time"
    )


def test_dense_plans_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    query, key, value = (torch.randn(1, 1, 256, 8) for _ in range(3))
    with caplog.at_level(logging.INFO, logger="attncc"):
        attncc.attention(query, key, value, attncc.load("sliding_window", window=8))
        assert "all pairs" not in caplog.text
        attncc.attention(query, key, value, scattered(share=20_000))
    assert "computes all pairs with a mask" in caplog.text


def test_representations_of_plans_fit_a_line() -> None:
    plan = attncc.plan(attncc.load("strided", l=128), 16384)
    assert len(repr(plan)) < 200
    assert "\n" not in repr(plan)
    assert "strided(l=128)" in repr(plan)
    assert str(plan) == plan.explain()
