"""Neighbourhoods on grids of one, two and three dimensions (Hassani et al. 2023 to 2025, NATTEN), and their kin.

Positions run over the grid, the last axis fastest. In front of it may stand `cls` tokens, and behind it `text` tokens.
They see all tokens, and all tokens see them.
"""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index
from attncc_neighborhood.axes import GridAxis, near

Positive = Annotated[int, Bounds(minimum=1)]
Count = Annotated[int, Bounds(minimum=0)]


# fmt: off
@attncc.pattern
def neighborhood_1d(
    i: Index, j: Index, n_k: Index, *, length: Positive = 256, kernel: Positive = 13, dilation: Positive = 1,
    stride: Positive = 1, causal: bool = False, cls: Count = 0, text: Count = 0,
) -> Condition:
    """The `kernel` nearest positions of a line, `dilation` apart; its ends see as many (Hassani et al. 2023)."""
    return near(i, j, n_k, cls, text, GridAxis("length", length, kernel, dilation, stride, causal))


@attncc.pattern
def neighborhood_2d(
    i: Index, j: Index, n_k: Index, *, height: Positive = 64, width: Positive = 64, kernel_h: Positive = 13,
    kernel_w: Positive = 13, dilation_h: Positive = 1, dilation_w: Positive = 1, stride_h: Positive = 1,
    stride_w: Positive = 1, causal_h: bool = False, causal_w: bool = False, cls: Count = 0, text: Count = 0,
) -> Condition:
    """The kernel_h x kernel_w nearest positions of an image, as many at its borders (Hassani et al. 2023)."""
    rows = GridAxis("height", height, kernel_h, dilation_h, stride_h, causal_h)
    return near(i, j, n_k, cls, text, rows, GridAxis("width", width, kernel_w, dilation_w, stride_w, causal_w))


@attncc.pattern
def neighborhood_3d(
    i: Index, j: Index, n_k: Index, *, depth: Positive = 16, height: Positive = 16, width: Positive = 16,
    kernel_d: Positive = 5, kernel_h: Positive = 5, kernel_w: Positive = 5, dilation_d: Positive = 1,
    dilation_h: Positive = 1, dilation_w: Positive = 1, stride_d: Positive = 1, stride_h: Positive = 1,
    stride_w: Positive = 1, causal_d: bool = False, causal_h: bool = False, causal_w: bool = False,
    cls: Count = 0, text: Count = 0,
) -> Condition:
    """The kernel_d x kernel_h x kernel_w nearest positions of a video, as many at its borders (Hassani et al. 2025)."""
    frames = GridAxis("depth", depth, kernel_d, dilation_d, stride_d, causal_d)
    rows = GridAxis("height", height, kernel_h, dilation_h, stride_h, causal_h)
    return near(i, j, n_k, cls, text, frames, rows, GridAxis("width", width, kernel_w, dilation_w, stride_w, causal_w))


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
