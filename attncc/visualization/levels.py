"""Levels of detail: the connectivity of a pattern as a whole, and ever finer in the middle, down to single pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attncc.frontend.patterns import Pattern
from attncc.planner.checks import check
from attncc.planner.shape import Shape
from attncc.visualization.connectivity import Grid, window

#: Cells a side, and how much finer the cells of each level are than those of the one before.
CELLS, FINER = 256, 8


@dataclass(frozen=True)
class Level:
    """A grid, and the first row and key of the window that it shows."""

    first: tuple[int, int]
    grid: Grid


def levels(pattern: Pattern, shape: Shape, *, head: int = 0) -> list[Level]:
    """Return the levels of a pattern for a shape, the whole first; raises what `check` does."""
    shape = replace(shape, heads=head + 1)
    for subset in pattern.subsets:
        check(subset, shape)
    found, extent = [], max(shape.q_len, shape.kv_len)
    while True:
        rows, columns = _middle(shape.q_len, extent), _middle(shape.kv_len, extent)
        found.append(Level((rows.start, columns.start), window(pattern, shape, rows, columns, CELLS, head=head)))
        side = found[-1].grid.side
        if side == 1:
            return found
        extent = min(CELLS * max(side // FINER, 1), extent)


def _middle(length: int, extent: int) -> range:
    """Return as many positions in the middle of a length, or all of it."""
    first = max(length - extent, 0) // 2
    return range(first, first + min(length, extent))
