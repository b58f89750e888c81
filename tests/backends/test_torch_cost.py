"""The torch backend's cost model: its counts, and its ranking of configurations."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

import attncc
from attncc import backends, targets
from attncc.backends.inputs import Inputs
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.cost import counts, seconds
from attncc.errors import ConfigError
from attncc.planner.directions import DIRECTIONS
from attncc.planner.plan import Plan

INPUTS = Inputs(batch=1, heads=8, kv_heads=8, head_dim=64, value_dim=64, dtype="fp32")
CPU = targets.target("cpu")
CACHE = 1e6
STRIDED = attncc.load("strided", l=128)
WINDOW = attncc.load("sliding_window", window=256)


def planned(pattern: attncc.Pattern, length: int) -> Plan:
    return attncc.plan(pattern, length, tile=(64, 64))


def predicted(plan: Plan, direction: str = "forward", **config: object) -> float:
    own = {f"{direction}.{name}": value for name, value in config.items()}
    return backends.get("torch").predict(plan, INPUTS, direction, own, CPU)


def table(length: int) -> attncc.Pattern:
    ids = np.random.default_rng(0).permutation(np.arange(length) % 16)
    return attncc.load("document", ids=ids)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("make", [lambda n: STRIDED, lambda n: WINDOW, table], ids=["strided", "window", "table"])
def test_predictions_grow_with_the_length(make, direction: str) -> None:
    found = [predicted(planned(make(length), length), direction) for length in (512, 1024, 4096)]
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_counts_are_not_negative(direction: str) -> None:
    plan = planned(table(1024), 1024)
    assert all(value >= 0 for value in asdict(counts(plan, INPUTS, direction, Tiling(), CACHE)).values())


def test_scores_count_the_tiles_that_the_flash_op_visits() -> None:
    full = planned(attncc.load("full"), 256)
    assert counts(full, INPUTS, "forward", Tiling(), CACHE).scores == 8 * 256 * 256
    causal = planned(attncc.load("causal"), 256)
    assert counts(causal, INPUTS, "forward", Tiling(), CACHE).scores == 8 * 64 * 64 * (1 + 2 + 3 + 4)


def test_the_backward_has_five_products_for_two_of_the_forward() -> None:
    plan = planned(WINDOW, 1024)
    forward, backward = (counts(plan, INPUTS, direction, Tiling(), CACHE).products for direction in DIRECTIONS)
    assert backward / forward == 2.5


def test_each_chunk_is_a_call() -> None:
    plan = planned(attncc.load("full"), 1024)
    assert counts(plan, INPUTS, "forward", Tiling(), CACHE).calls == 1
    plan = planned(attncc.load("block_diagonal", block=64), 1024)
    few, many = (counts(plan, INPUTS, "forward", Tiling(chunk=chunk), CACHE).calls for chunk in (1 << 20, 1 << 15))
    assert (few, many) == (1, 16)


def test_gathered_rows_cost_more_than_sliced_ones() -> None:
    ids = np.repeat(np.arange(32), 32)
    sliced = planned(attncc.load("document", ids=ids), 1024)
    gathered = planned(attncc.load("document", ids=np.random.default_rng(0).permutation(ids)), 1024)
    assert sliced.nnz == gathered.nnz
    for direction in DIRECTIONS:
        assert counts(sliced, INPUTS, direction, Tiling(), CACHE).gathered == 0
        assert counts(gathered, INPUTS, direction, Tiling(), CACHE).gathered > 0
        assert predicted(gathered, direction) > predicted(sliced, direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_split_strided_plan_ranks_before_the_fused_one(direction: str) -> None:
    plan = planned(STRIDED, 16384)
    split, fused = (predicted(plan.preferring(way), direction) for way in ("split", "fused"))
    assert split < fused / 3


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"query_tile": 32}, {"query_tile": 256}),
        ({"chunk": 1 << 22}, {"chunk": 1 << 16}),
        ({"key_multiple": 16}, {"key_multiple": 256}),
    ],
)
def test_worse_settings_cost_more(better: dict[str, int], worse: dict[str, int]) -> None:
    plan = planned(WINDOW, 16384)
    assert predicted(plan, **better) < predicted(plan, **worse)


def test_shared_keys_are_read_once() -> None:
    plan = planned(WINDOW, 1024)
    own, shared = (counts(plan, replace(INPUTS, kv_heads=heads), "backward", Tiling(), CACHE) for heads in (8, 2))
    assert shared.products == own.products
    assert shared.merged < own.merged


def test_counts_sum_over_groups_of_heads() -> None:
    whole = counts(planned(STRIDED, 512), INPUTS, "forward", Tiling(), CACHE)
    heads = attncc.plan(STRIDED.heads(), 512, heads=8, tile=(64, 64))
    assert len(heads.groups) == 2
    assert counts(heads, INPUTS, "forward", Tiling(), CACHE).scores < whole.scores


def test_unknown_names_and_targets_without_costs_are_refused() -> None:
    plan = planned(WINDOW, 512)
    with pytest.raises(ConfigError, match="chonk"):
        predicted(plan, chonk=3)
    with pytest.raises(ConfigError, match="h100"):
        seconds(plan, INPUTS, "forward", Tiling(), targets.target("h100"))
