"""Exact tiles and key intervals against masks that attncc had no part in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attncc
from attncc import Condition, Index, Table
from attncc.ir.tables import Array
from attncc.planner.bound_groups import shared
from attncc.planner.exact import exact_tiles, key_intervals, transposed
from attncc.planner.shape import Shape
from attncc.planner.sweep import LineRuns, counted
from attncc.planner.tiles import EMPTY, FULL, PARTIAL
from attncc.testing import strategies


def classes(mask: Array, block_m: int, block_n: int) -> Array:
    """Return the class of each tile by counting its pairs; a tile that is cut off has too few to be FULL."""
    rows, cols = (-(-size // block) for size, block in zip(mask.shape, (block_m, block_n), strict=True))
    whole = np.zeros((rows * block_m, cols * block_n), bool)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    pairs = whole.reshape(rows, block_m, cols, block_n).sum((1, 3))
    return np.where(pairs == 0, EMPTY, np.where(pairs == block_m * block_n, FULL, PARTIAL))


def written_out(runs: LineRuns, shape: Shape) -> Array:
    mask = np.zeros((shape.q_len, shape.kv_len), bool)
    for line, start, stop in zip(*runs, strict=True):
        assert not mask[line, max(start - 1, 0) : stop + 1].any()  # maximal: no two touch
        mask[line, start:stop] = True
    return mask


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.cases(), st.sampled_from([1, 3, 8, 16, 64]), st.sampled_from([1, 2, 5, 8, 128]))
def test_tiles_and_intervals_are_exact(case: strategies.Case, block_m: int, block_n: int) -> None:
    shape = Shape(case.q_len, case.kv_len, case.q_offset, case.heads, case.batch)
    for (entries, heads), predicate in shared(case.pattern.predicate, shape, case.pattern.free):
        mask = case.mask[(entries or (0,))[0], (heads or (0,))[0]]
        tiles = exact_tiles(predicate, shape, block_m, block_n)
        assert np.array_equal(tiles.classify(), classes(mask, block_m, block_n))
        assert np.array_equal(written_out(key_intervals(predicate, shape), shape), mask)
        by_key, turned = transposed(predicate, shape)
        assert np.array_equal(written_out(key_intervals(by_key, turned), turned), mask.T)


@attncc.pattern
def ranges(i: Index, j: Index, *, start: Table, stop: Table) -> Condition:
    return (start[i] <= j) & (j < stop[i])


@pytest.mark.parametrize("step", [1, 7, 100])
def test_ranges_of_a_tile_that_leave_gaps_leave_tiles_empty(step: int) -> None:
    """Rows of a tile see keys far from each other, and those between belong to no row."""
    start = np.arange(40) * step
    pattern, shape = ranges(start=start, stop=start + 3), Shape(40, 4000)
    mask = attncc.dense_mask(pattern, 40, 4000).numpy()
    assert np.array_equal(exact_tiles(pattern.predicate, shape, 8, 16).classify(), classes(mask, 8, 16))


def test_ranges_in_any_order_have_exact_tiles() -> None:
    start = np.random.default_rng(0).integers(0, 90, 100)
    pattern, shape = ranges(start=start, stop=start + 20), Shape(100, 100)
    mask = attncc.dense_mask(pattern, 100).numpy()
    assert np.array_equal(exact_tiles(pattern.predicate, shape, 8, 8).classify(), classes(mask, 8, 8))


def test_runs_are_counted_where_they_lie_over_each_other() -> None:
    one, other = LineRuns(*np.array([[0, 0, 1], [0, 2, 0], [4, 6, 1]])), LineRuns(*np.array([[0], [3], [5]]))
    runs, counts = counted([one, other])
    assert np.column_stack([*runs, *counts]).tolist() == [
        [0, 0, 2, 1, 0],
        [0, 2, 3, 2, 0],
        [0, 3, 4, 2, 1],
        [0, 4, 5, 1, 1],
        [0, 5, 6, 1, 0],
        [1, 0, 1, 1, 0],
    ]
