"""Edges: the two sides of key ranges as a kernel gets them, in closed form where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Edge:
    """One side of key ranges over query slots r.

    `slanted`: it is clip(r + shift, 0, cols), a number a kernel computes. Otherwise `slots` holds it for every
    row, unless the edge is the end of the axis itself (`slots` is None), which needs no comparison.
    """

    slanted: bool
    shift: int = 0
    slots: Array | None = None

    @property
    def kind(self) -> str:
        """`open`, `slanted` or `stored`: what a kernel is printed for."""
        if self.slanted:
            return "slanted"
        return "open" if self.slots is None else "stored"


def edge(slots: Array, cols: int, end: int) -> Edge:
    """Return the edge with these key slots, one a query slot; at `end` (0 or `cols`) it is open."""
    if np.all(slots == end):
        return Edge(slanted=False)
    row = np.arange(len(slots))
    inside = np.flatnonzero((slots > 0) & (slots < cols))
    shift = int(slots[inside[0]] - inside[0]) if len(inside) else 0
    if len(inside) and np.array_equal(np.clip(row + shift, 0, cols), slots):
        return Edge(slanted=True, shift=shift)
    return Edge(slanted=False, slots=slots.astype(np.int32))
