"""The grid that a picture shows: for each subset, which cells are empty, partly or fully connected."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from attncc.frontend.patterns import Pattern
from attncc.ir.normal import rewritten
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner import bisect
from attncc.planner.axis import Axis
from attncc.planner.checks import check
from attncc.planner.key_ranges import everything
from attncc.planner.layout import Layout
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise


@dataclass(frozen=True)
class Grid:
    """`cells[m]` is int8 (rows, columns) of EMPTY, PARTIAL and FULL for subset m; a cell is `side` positions wide."""

    cells: tuple[Array, ...]
    side: int

    @property
    def union(self) -> Array:
        """The most that any subset has in a cell (two halves of a cell are still PARTIAL)."""
        united: Array = np.maximum.reduce(self.cells)
        return united


def grid(pattern: Pattern, shape: Shape, most: int, *, head: int = 0) -> Grid:
    """Return the grid of a pattern for one head and batch entry of a shape, at most `most` cells a side.

    Cells are powers of two wide and classified by the planner's bisection: EMPTY and FULL are proved.
    """
    shape = replace(shape, heads=head + 1)
    for subset in pattern.subsets:
        check(subset, shape)
    return window(pattern, shape, range(shape.q_len), range(shape.kv_len), most, head=head)


def window(pattern: Pattern, shape: Shape, rows: range, cols: range, most: int, *, head: int = 0) -> Grid:
    """Return the grid of some queries and keys of a shape that a pattern has been checked for."""
    side = 1
    while -(-max(len(rows), len(cols)) // side) > most:
        side *= 2
    axes = _axis(rows, shape.q_len), _axis(cols, shape.kv_len)
    predicates = [specialise(subset, shape, 0, head) for subset in pattern.subsets]
    return Grid(tuple(_classes(each, *axes, shape.q_offset, side) for each in predicates), side)


def _axis(positions: range, length: int) -> Axis:
    whole = Axis(length)
    return whole if len(positions) == length else whole.select(np.arange(positions.start, positions.stop))


def _classes(predicate: Predicate, rows: Axis, cols: Axis, q_offset: int, side: int) -> Array:
    layout = Layout(rows, cols, everything(rows.size, cols.size), rewritten(predicate))
    return bisect.bisect(layout, q_offset, side, side).classify()
