"""Neighbourhoods on grids of one, two and three dimensions, as NATTEN has them (Hassani et al. 2023 to 2025)."""

from __future__ import annotations

import attncc
from attncc import Condition, Index
from attncc_neighborhood.axes import Count, GridAxis, Positive, near


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
# fmt: on
