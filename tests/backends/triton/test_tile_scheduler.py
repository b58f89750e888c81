"""Schedules: items hold every tile once, none is too long, and transposing keeps the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.backends.triton.tile_scheduler import WorkItems, longest, schedule, transposed
from attncc.planner.tiles import EMPTY, FULL, PARTIAL, Tiles, from_boxes

PATTERNS = {
    "causal": attncc.load("causal"),
    "window": attncc.load("sliding_window", window=40),
    "strided": attncc.load("strided", l=12),
    "fixed": attncc.load("fixed", l=16, c=2),
    "prefix": attncc.load("prefix", length=50),
}


def drawn(rng: np.random.Generator, rows: int, cols: int) -> Tiles:
    """Return tiles of 16 x 16 of random classes."""
    grid = rng.integers(0, 3, (-(-rows // 16), -(-cols // 16)))
    corner = np.argwhere(grid != EMPTY)
    boxes = np.column_stack([corner, np.ones(len(corner), int), grid[grid != EMPTY] == FULL])
    return from_boxes(rows, cols, 16, 16, boxes)


def grid_of(items: list[WorkItems], rows: int, cols: int) -> np.ndarray:
    """Return the grid of tiles that items visit: each at most once."""
    grid = np.zeros((rows, cols), int)
    for some in items:
        for tile, full, partial, end in some.items:
            for run in range(full, end):
                first, last = some.runs[run]
                assert (grid[tile, first:last] == EMPTY).all()
                grid[tile, first:last] = FULL if run < partial else PARTIAL
    return grid


@given(st.integers(0, 2**16), st.integers(1, 200), st.integers(1, 200), st.integers(1, 6), st.booleans())
def test_items_hold_every_tile_once(seed: int, rows: int, cols: int, most: int, every_tile: bool) -> None:
    tiles = drawn(np.random.default_rng(seed), rows, cols)
    whole, split = schedule(tiles, most, every_tile=every_tile)
    grid = tiles.classify()
    np.testing.assert_array_equal(grid_of([whole, split], *grid.shape), grid)
    for items in (whole, split):
        length = [int(np.diff(items.runs[full:end]).sum()) for _, full, _, end in items.items]
        assert all(n <= most for n in length)
        assert length == sorted(length, reverse=True)
    busy = set(np.flatnonzero((grid != EMPTY).any(1)))
    wanted = set(range(len(grid))) if every_tile else busy
    assert set(whole.items[:, 0]) | set(split.items[:, 0]) == wanted
    by_part = split.items[np.argsort(split.part_numbers)]
    for tile, first, last in split.tiles:
        assert (by_part[first:last, 0] == tile).all()
        assert last - first > 1
        assert (np.diff(by_part[first:last, 1]) > 0).all()


def test_equally_long_parts_keep_their_order() -> None:
    """Items that run at the same time share tiles in L2; remainders of all rows come last."""
    rows = from_boxes(48, 16 * 16, 16, 16, np.array([[row, column, 1, 1] for row in range(3) for column in range(7)]))
    _, split = schedule(rows, 3, every_tile=True)
    assert split.items[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    assert split.part_numbers.tolist() == [0, 1, 3, 4, 6, 7, 2, 5, 8]
    assert split.tiles.tolist() == [[0, 0, 3], [1, 3, 6], [2, 6, 9]]


@pytest.mark.parametrize("length", [16, 100, 131])
@pytest.mark.parametrize("name", PATTERNS)
def test_transposed_tiles_equal_the_transposed_grid(name: str, length: int) -> None:
    for work in attncc.plan(PATTERNS[name], length, tile=(16, 32)).all_passes():
        turned, tiles = transposed(work), work.tiles
        grid, wanted = turned.classify(), tiles.classify().T
        np.testing.assert_array_equal(grid != EMPTY, wanted != EMPTY)
        ragged = tiles.rows % tiles.block_m != 0
        assert not ragged or (grid[:, -1] != FULL).all()
        inner = slice(None, -1) if ragged else slice(None)
        assert (wanted[:, inner][grid[:, inner] == FULL] == FULL).all()


def test_long_rows_are_split_when_programs_are_few() -> None:
    banded = [[row, row, 1, 1] for row in range(2048)]
    global_row = [[2048, column, 1, 1] for column in range(2049)]
    tiles = from_boxes(2049 * 16, 2049 * 16, 16, 16, np.array(banded + global_row))
    assert longest(tiles, heads=1, processors=100) < 100
    assert longest(tiles, heads=1000, processors=100) == 2049
    single = from_boxes(16, 512 * 16, 16, 16, np.array([[0, column, 1, 1] for column in range(512)]))
    most = longest(single, heads=4, processors=132)
    _, split = schedule(single, most, every_tile=True)
    assert len(split.items) * 4 >= 132
    assert longest(single, heads=1000, processors=132) == 512
