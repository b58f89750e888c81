"""Tiles of random key ranges and boxes, compared with the dense grid."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner import tiles as module
from attncc.planner.key_ranges import tabulated
from attncc.planner.order import opens
from attncc.planner.tiles import EMPTY, FULL, PARTIAL, Tiles, from_boxes, from_key_ranges

ROWS, COLS, BLOCK_M, BLOCK_N = 37, 51, 8, 4


def stairs(seed: int) -> tuple[Tiles, np.ndarray]:
    """Return the tiles of random key ranges, and the pairs under it, bool (ROWS, COLS)."""
    draw = np.random.default_rng(seed)
    start, stop = np.sort(draw.integers(0, COLS + 1, (2, ROWS)), axis=0)
    column = np.arange(COLS)
    seen = (start[:, None] <= column) & (column < stop[:, None])
    return from_key_ranges(tabulated(start, stop, COLS), BLOCK_M, BLOCK_N), seen


@pytest.mark.parametrize("seed", range(8))
def test_tiles_of_key_ranges_agree_with_the_dense_grid(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOGETHER", 1 + seed)
    tiles, seen = stairs(seed)
    classes = tiles.classify()
    for row, col in np.ndindex(classes.shape):
        part = seen[row * BLOCK_M : (row + 1) * BLOCK_M, col * BLOCK_N : (col + 1) * BLOCK_N]
        assert classes[row, col] != EMPTY or not part.any()
        assert classes[row, col] != FULL or (part.all() and part.shape[1] == BLOCK_N)
    assert (tiles.num_full, tiles.num_partial) == ((classes == FULL).sum(), (classes == PARTIAL).sum())


@pytest.mark.parametrize("seed", range(4))
def test_runs_list_their_tiles(seed: int) -> None:
    tiles, _ = stairs(seed)
    runs = zip(tiles.query_tile, tiles.start, tiles.stop, strict=True)
    listed = [[tile, col] for tile, first, last in runs for col in range(first, last)]
    assert tiles.in_runs(np.arange(len(tiles.start))).tolist() == listed
    full, partial = tiles.select(tiles.full), tiles.select(~tiles.full)
    assert np.array_equal(full.corners(full=True), tiles.corners(full=True))
    assert np.array_equal(partial.in_runs(slice(None)), tiles.corners(full=False))
    assert full.classify().max(initial=0) in (EMPTY, FULL)
    assert np.array_equal(full.classify() + partial.classify(), tiles.classify())


@pytest.mark.parametrize("seed", range(4))
def test_chunks_list_few_runs_at_a_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, _ = stairs(seed)
    longest = int((tiles.stop - tiles.start).max())
    monkeypatch.setattr(module, "LISTED", 5)
    listed: list[int] = []
    in_runs = Tiles.in_runs
    monkeypatch.setattr(Tiles, "in_runs", lambda self, runs: listed.append(len(found := in_runs(self, runs))) or found)
    for full in (True, False):
        chunks = list(tiles.chunks(3, full=full))
        assert np.array_equal(np.concatenate([np.empty((0, 2), int), *chunks]), in_runs(tiles, tiles.full == full))
        assert max(map(len, chunks), default=0) <= 3
    assert max(listed) < 5 + longest


def test_boxes_are_clipped_and_joined() -> None:
    boxes = np.array([(0, 0, 4, 1), (0, 4, 4, 1), (0, 12, 1, 1), (4, 8, 8, 0)])
    tiles = from_boxes(ROWS, COLS, BLOCK_M, BLOCK_N, boxes)
    wanted = np.zeros((5, 13), np.int8)
    wanted[:4, :8] = FULL
    wanted[0, 12] = PARTIAL  # cut off by the end of the keys
    wanted[4, 8:] = PARTIAL
    assert np.array_equal(tiles.classify(), wanted)
    assert len(tiles.start) == 6  # neighbours of a row are one run


def test_adjacent_boxes_are_unrolled_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    unrolled: list[int] = []
    monkeypatch.setattr(module, "opens", lambda *columns: unrolled.append(len(columns[0])) or opens(*columns))
    side, count = 32, 16
    boxes = np.array([(side * row, side * col, side, 0) for col in range(count) for row in range(count)])
    tiles = from_boxes(side * count, side * count, 1, 1, boxes)
    assert unrolled == [count**2, side * count]  # boxes, then one run a query tile: not one a box and query tile
    assert tiles.num_partial == (side * count) ** 2
    assert len(tiles.start) == side * count
