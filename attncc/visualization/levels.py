"""Levels of detail: the connectivity of a pattern as a whole, and ever finer in the middle, down to single pairs."""

from __future__ import annotations

from dataclasses import dataclass

from attncc.frontend.patterns import Pattern
from attncc.planner.checks import check
from attncc.planner.shape import Shape
from attncc.visualization.connectivity import Grid, window

#: Cells a side, and how much finer the cells of each level are than those of the one before.
CELLS, FINER = 256, 8


@dataclass(frozen=True)
class Level:
    """A grid, and the first query and key of the window that it shows."""

    first: tuple[int, int]
    grid: Grid


def levels(pattern: Pattern, length: int, *, head: int = 0) -> list[Level]:
    """Return the levels of a pattern at a length, the whole first; raises what `check` does."""
    shape = Shape(length, length, heads=head + 1)
    for subset in pattern.subsets:
        check(subset, shape)
    found, extent = [], length
    while True:
        first = (length - extent) // 2
        part = range(first, first + extent)
        found.append(Level((first, first), window(pattern, shape, part, part, CELLS, head=head)))
        side = found[-1].grid.side
        if side == 1:
            return found
        extent = min(CELLS * max(side // FINER, 1), extent)
