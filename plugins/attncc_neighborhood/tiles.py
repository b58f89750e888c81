"""Grids whose windows are whole tiles, or whole lines: sliding tile attention and axial attention."""

from __future__ import annotations

import attncc
from attncc import Condition, Index
from attncc_neighborhood.axes import Count, GridAxis, Positive, near


# fmt: off
@attncc.pattern
def sliding_tiles(
    i: Index, j: Index, n_k: Index, *, depth: Positive = 1, height: Positive = 64, width: Positive = 64,
    kernel_d: Positive = 1, kernel_h: Positive = 3, kernel_w: Positive = 3, tile_d: Positive = 1, tile_h: Positive = 8,
    tile_w: Positive = 8, cls: Count = 0, text: Count = 0,
) -> Condition:
    """All of the kernel_d x kernel_h x kernel_w tiles nearest to the query's own (Zhang et al. 2025, STA)."""
    frames, rows = GridAxis("depth", depth, kernel_d, tile=tile_d), GridAxis("height", height, kernel_h, tile=tile_h)
    return near(i, j, n_k, cls, text, frames, rows, GridAxis("width", width, kernel_w, tile=tile_w))


@attncc.pattern
def axial(
    i: Index, j: Index, n_k: Index, *, height: Positive = 64, width: Positive = 64
) -> tuple[Condition, Condition]:
    """The query's row, and its column (Ho et al. 2019); .layers() and .heads() take turns, .union() has both."""
    (row, col), (key_row, key_col) = (attncc.grid(x, (height, width), length=n_k) for x in (i, j))
    return row == key_row, col == key_col
# fmt: on
