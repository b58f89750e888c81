"""Cells of several tiles: what they are and how much of them is visited, compared with the grid of all tiles."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.planner.tiles import EMPTY, FULL
from attncc.visualization.coarse import CoarseTiles

PATTERNS = [
    attncc.load("strided", l=8),
    attncc.load("fixed", l=16, c=3),
    attncc.load("document", ids=[0] * 50 + [1] * 150 + [2] * 101),
    attncc.load("block_diagonal", block=300) & ~attncc.load("full"),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
@pytest.mark.parametrize("most", [1, 5, 16, 200])
def test_cells_are_classed_by_all_of_their_tiles(pattern: attncc.Pattern, most: int) -> None:
    for work in attncc.plan(pattern, 301, tile=(4, 2)).all_passes():
        found, grid = CoarseTiles.of(work.tiles, most), work.tiles.classify()
        assert max(found.cells.shape) <= most
        for (row, column), label in np.ndenumerate(found.cells):
            tiles = grid[row * found.side : (row + 1) * found.side, column * found.side : (column + 1) * found.side]
            assert (label == EMPTY) == (tiles == EMPTY).all()
            assert (label == FULL) == (tiles == FULL).all()
            assert found.visited[row, column] == pytest.approx((tiles != EMPTY).mean())
