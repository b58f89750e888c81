"""Bisection: tiles are exact within the budget, and counts and pairs agree with the mask."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.normal import Clause
from attncc.ir.symbols import I, J
from attncc.planner import bisect as module
from attncc.planner.bisect import bisect, count, pairs
from attncc.planner.layout import Layout
from attncc.planner.search import fused_layout, layouts, possible_clauses
from attncc.planner.shape import Shape
from attncc.planner.tiles import FULL, PARTIAL, Tiles

#: Neither length is a multiple of a tile, and the first query is not at 0.
SHAPE = Shape(101, 77, 13)
TILE = (16, 8)
EMPTY = 0


@attncc.pattern
def products(i, j):
    return ((i * j) % 7 < 3) & (j <= i) & (i - j < 40)


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & ((i + j * j) % 3 != 1)


@attncc.pattern
def all_but_a_square(i, j):
    return (i < 40) | (i >= 72) | (j < 16) | (j >= 48)


@attncc.pattern
def nothing_in_the_corner(i, j):
    return i * i + j * j < 4000


TABLE = np.arange(SHAPE.q_offset + SHAPE.q_len) // 11 % 3
PATTERNS = [products(), alike(ids=TABLE), all_but_a_square(), nothing_in_the_corner()]


def whole(pattern: attncc.Pattern) -> Layout:
    """The natural order, with all of the predicate as residual."""
    return fused_layout(pattern.predicate, [Clause({})], SHAPE)


def mask_of(layout: Layout) -> np.ndarray:
    """Which slots of a layout are connected, bool (rows, cols), pair by pair."""
    rows, cols = layout.rows.places, layout.cols.places
    start, stop = layout.key_ranges.at(np.arange(len(rows)))
    key = np.arange(len(cols))
    under = (start[:, None] <= key) & (key < stop[:, None])
    holds = evaluate_predicate(layout.residual, {I: rows[:, None] + SHAPE.q_offset, J: cols[None, :]})
    return under & holds


def grid_of(mask: np.ndarray) -> np.ndarray:
    """The class of each tile by its pairs; a tile that reaches over the last key is never FULL."""
    tall, wide = (-(-size // side) for size, side in zip(mask.shape, TILE, strict=True))
    found = np.empty((tall, wide), np.int8)
    for row, col in np.ndindex(tall, wide):
        part = mask[row * TILE[0] : (row + 1) * TILE[0], col * TILE[1] : (col + 1) * TILE[1]]
        is_full = part.all() and part.shape[1] == TILE[1]
        found[row, col] = FULL if is_full else PARTIAL if part.any() else EMPTY
    return found


def check_exact(layout: Layout, tiles: Tiles) -> None:
    mask = mask_of(layout)
    assert count(layout, SHAPE.q_offset, tiles) == mask.sum()
    found = np.zeros_like(mask, int)
    for query, key in pairs(layout, SHAPE.q_offset, tiles):
        np.add.at(found, (query, key), 1)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_tiles_counts_and_pairs_agree_with_the_mask(pattern: attncc.Pattern) -> None:
    layout = whole(pattern)
    tiles = bisect(layout, SHAPE.q_offset, *TILE)
    np.testing.assert_array_equal(tiles.classify(), grid_of(mask_of(layout)))
    check_exact(layout, tiles)


def test_reordered_layouts_are_classified_by_slot() -> None:
    [clause] = possible_clauses(alike(ids=TABLE).predicate, SHAPE)
    layout = next(layouts(clause, SHAPE))
    assert layout.kind == "sorted"
    assert layout.residual is not None
    tiles = bisect(layout, SHAPE.q_offset, *TILE)
    np.testing.assert_array_equal(tiles.classify(), grid_of(mask_of(layout)))
    check_exact(layout, tiles)


@pytest.mark.parametrize(("limit", "value"), [("MAX_BOXES", 8), ("MAX_ELEMENTS", 0), ("MAX_ELEMENTS", 640)])
def test_tiles_beyond_the_budget_are_partial(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = whole(PATTERNS[0])
    exact = grid_of(mask_of(layout))
    monkeypatch.setattr(module, limit, value)
    tiles = bisect(layout, SHAPE.q_offset, *TILE)
    found = tiles.classify()
    np.testing.assert_array_equal(found[found != PARTIAL], exact[found != PARTIAL])
    assert (found == PARTIAL).sum() > (exact == PARTIAL).sum()
    check_exact(layout, tiles)


def test_full_and_empty_sets_are_proved_without_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ELEMENTS", 0)
    layout = whole(all_but_a_square())
    np.testing.assert_array_equal(
        bisect(layout, SHAPE.q_offset, 1, 1).classify(), np.where(mask_of(layout), FULL, EMPTY)
    )
