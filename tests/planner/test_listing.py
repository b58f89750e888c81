"""Listing: the keys of a single query are those of the dense mask, whatever the pattern, tables, heads and offset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.backends.reference.mask import dense_mask
from attncc.planner import listing
from attncc.planner.search import TILE, plan_for
from attncc.planner.shape import Shape
from attncc.testing.check import check_plan
from attncc.testing.strategies import Case, cases


def one_query(case: Case, row: int) -> tuple[attncc.Plan, np.ndarray]:
    """Return the plan of one row of a case, and the row of its mask."""
    sizes = {"q_offset": case.q_offset + row, "heads": case.heads, "batch": case.batch}
    free = {symbol.name for symbol in case.pattern.free}
    mask = case.mask[:, :, row : row + 1]
    mask = mask if "b" in free else mask[:1]
    mask = mask if "h" in free else mask[:, :1]
    kept = [n for n, name in ((mask.shape[0], "b"), (mask.shape[1], "h")) if name in free]
    return attncc.plan(case.pattern, 1, case.kv_len, **sizes), mask.reshape(*kept, 1, case.kv_len)


@given(cases(), st.integers(0, 149))
def test_the_keys_of_a_query_are_those_of_the_mask(case: Case, row: int) -> None:
    if "n_q" in {symbol.name for symbol in case.pattern.free}:
        return  # one query isn't a row of several
    made, mask = one_query(case, row % case.q_len)
    check_plan(made, mask)
    assert {group.alternatives[0].name for group in made.groups} <= {"listed", "empty"}


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


@attncc.pattern
def within(i, j, *, lengths: attncc.Table):
    return j < lengths[0]


def test_consecutive_keys_are_a_range_of_the_natural_order() -> None:
    made = attncc.plan(alike(ids=[0] * 40 + [1] * 60), 1, 100, q_offset=99)
    [work] = made.all_passes()
    assert work.layout.kind == "identity"
    start, stop = work.key_ranges.at(np.zeros(1, int))
    assert (int(start[0]), int(stop[0])) == (40, 100)


def test_entries_with_equal_keys_share_a_group() -> None:
    lengths = np.array([[7], [9], [7], [0]])
    made = attncc.plan(within(lengths=lengths), 1, 10, q_offset=9, batch=4)
    assert [group.batches for group in made.groups] == [(0, 2), (1,), (3,)]
    assert [group.nnz for group in made.groups] == [7, 9, 0]


def test_many_keys_are_planned_as_for_more_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = alike(ids=np.arange(64) % 3)
    monkeypatch.setattr(listing, "MOST_LISTED", 63)
    shape = Shape(1, 64, 63)
    assert {group.alternatives[0].name for group in plan_for(pattern, shape, TILE, "cpu").groups}.isdisjoint({"listed"})
    assert plan_for(pattern, Shape(1, 63, 62), TILE, "cpu").groups[0].alternatives[0].name == "listed"


@pytest.mark.parametrize("name", ["causal", "sliding_window", "strided"])
def test_ranges_of_keys_need_no_evaluation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = attncc.load(name, **({"window": 9} if name == "sliding_window" else {}))
    pattern = pattern.union()
    mask = attncc.dense_mask(pattern, 1, 200, q_offset=157)
    monkeypatch.setattr(listing, "Consecutive", None)
    check_plan(attncc.plan(pattern, 1, 200, q_offset=157), mask.numpy())


@attncc.pattern
def remainders_and_blocks(i, j):
    return (
        (j % 3 == i % 3) & (j <= i),
        (i + j) % 5 == 2,
        (j // 8 == i // 8) & (2 * j > i),
        (j < 4) | (j // 8 == i // 8),
    )


@pytest.mark.parametrize("subset", range(4))
@pytest.mark.parametrize("row", [0, 1, 30, 61, 199])
def test_remainders_blocks_and_unions_are_ranges(subset: int, row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = remainders_and_blocks().layers(subset)
    mask = attncc.dense_mask(pattern, 1, 200, q_offset=row)
    monkeypatch.setattr(listing, "Consecutive", None)
    check_plan(attncc.plan(pattern, 1, 200, q_offset=row), mask.numpy())


def test_a_long_range_isn_t_listed_key_by_key() -> None:
    made = attncc.plan(attncc.load("causal"), 1, 1 << 30, q_offset=(1 << 30) - 1, batch=64)
    assert made.groups[0].alternatives[0].name == "listed"
    assert made.nnz == 1 << 30


def test_a_window_looks_at_its_keys_only() -> None:
    pattern = attncc.load("sliding_window", window=256)
    made = attncc.plan(pattern, 1, 1 << 30, q_offset=(1 << 30) - 1)
    assert made.groups[0].alternatives[0].name == "listed"
    assert made.nnz == 256


def test_decoding_equals_the_rows_of_attention() -> None:
    torch.manual_seed(0)
    ids = np.sort(np.random.default_rng(0).integers(0, 4, 50))
    query, key, value = (torch.randn(1, 2, 50, 8, dtype=torch.float64) for _ in range(3))
    for pattern in (alike(ids=ids), attncc.load("strided", l=7).union(), attncc.load("fixed", l=8, c=2).heads()):
        whole = attncc.attention(query, key, value, pattern)
        for n in (1, 2, 17, 50):
            cut = (x[:, :, :n] for x in (key, value))
            step = attncc.attention(query[:, :, n - 1 : n], *cut, pattern, q_offset=n - 1)
            torch.testing.assert_close(step, whole[:, :, n - 1 : n])


def test_a_listed_query_has_the_keys_of_its_mask_by_head() -> None:
    pattern = attncc.load("strided", l=4).heads()
    mask = dense_mask(pattern, 1, 30, q_offset=29, heads=4)
    check_plan(attncc.plan(pattern, 1, 30, q_offset=29, heads=4), mask.numpy())
