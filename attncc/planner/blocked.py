"""Blocked layouts: queries and keys of a grid laid out box by box, so that tiles hold neighbours along every axis.

In row-major order a tile of 64 queries of an image is a piece of a row, whose neighbourhoods span all rows around it.
A box of 8 x 8 of them sees little more than each of its queries does. A grid is found by what a clause compares: bands
of two or more *coordinates* of the key, such as j // 64 and j % 64, that together tell the keys apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import sympy

from attncc.ir.arithmetic import split_sum
from attncc.ir.evaluate import evaluate
from attncc.ir.normal import Clause
from attncc.ir.predicate import TRUE, conjunction
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array, Read
from attncc.planner.axis import Axis
from attncc.planner.classes import classes_of
from attncc.planner.key_ranges import KeyRanges, everything, tabulated
from attncc.planner.layout import Layout, filtered, segments_of
from attncc.planner.order import order_by
from attncc.planner.relation import Relation
from attncc.planner.shape import Shape
from attncc.planner.sides import Sides

#: Positions of a box: a tile of as many rows is a matrix product's worth, and fewer have fewer keys around them.
BOX = 64
#: Cells that coordinates may span for each key there is; beyond it they don't tell keys apart, as digits do.
SPARSE = 2


def blocked(clause: Clause, relation: Relation, shape: Shape) -> Layout | None:
    """Return the layout of a clause box by box, sorted by its joins first; None where it has no grid."""
    if relation.residual == TRUE or relation.ordering is not None:
        return None  # key ranges, or values in order, say it all
    found = coordinates(clause, relation)
    if len(found) < 2:
        return None
    rows = filtered(Axis(shape.q_len), relation.query_filter, I, shape.q_offset)
    cols = filtered(Axis(shape.kv_len), relation.key_filter, J, 0)
    if not rows.size or not cols.size:
        return None
    query_class, key_class = classes_of(relation.joins, rows.places + shape.q_offset, cols.places)
    found.sort(key=lambda each: np.count_nonzero(np.diff(_values(each, J, cols.places))))  # the slowest axis first
    of_keys = [_values(each, J, cols.places) for each in found]
    of_queries = [_values(each.xreplace({J: I}), I, rows.places + shape.q_offset) for each in found]
    box = _box(of_keys, key_class)
    if box is None:
        return None
    row_order = order_by(query_class, *_in_boxes(of_queries, box))
    col_order = order_by(key_class, *_in_boxes(of_keys, box))
    rows, cols = rows.reordered(row_order), cols.reordered(col_order)
    bands = (band.predicate() for band in relation.bands)
    residual = conjunction([relation.residual, *bands])
    key_ranges = _classes(query_class[row_order], key_class[col_order]) if relation.joins else None
    key_ranges = key_ranges or everything(rows.size, cols.size)
    return Layout(rows, cols, key_ranges, residual, Sides.of(residual, rows, cols, shape.q_offset))


def coordinates(clause: Clause, relation: Relation) -> list[sympy.Expr]:
    """Return the expressions of the key that a clause bounds by what depends on the query, joins aside."""
    joined = {join.key for join in relation.joins}
    found: dict[sympy.Expr, None] = {}
    for span in clause.sorted_spans:
        parts = split_sum(span.form, I, J)
        if parts is None or not all(part.free_symbols and not part.has(Read) for part in parts):
            continue
        factor, key = parts[1].as_coeff_Mul()
        if J in key.free_symbols and abs(factor) == 1 and not {key, -key} & joined:
            found[key] = None
    return list(found)


def _values(coordinate: sympy.Expr, symbol: sympy.Symbol, positions: Array) -> Array:
    return np.broadcast_to(np.asarray(evaluate(coordinate, {symbol: positions}), np.int64), positions.shape)


def _box(coordinates: Sequence[Array], classes: Array) -> list[int] | None:
    """Return the extents of a box, powers of two that grow in turn; None where the coordinates are those of no grid."""
    extents = [int(np.ptp(each)) + 1 for each in coordinates]
    cells = int(np.prod([float(extent) for extent in extents])) * (int(classes.max()) + 1)
    if cells > SPARSE * len(classes) or sum(extent > 1 for extent in extents) < 2:
        return None
    sides = [1] * len(extents)
    while 4 * np.prod(sides) * len(classes) < 3 * BOX * cells:  # as near to BOX positions as doubling gets
        grows = [axis for axis, side in enumerate(sides) if 2 * side <= extents[axis]]
        if not grows:
            return None  # all of the grid is one box
        sides[min(grows, key=lambda axis: (sides[axis], -axis))] *= 2
    return sides


def _in_boxes(coordinates: Sequence[Array], box: Sequence[int]) -> Iterator[Array]:
    """Yield the columns to sort by: whole boxes first, then those cut off at an end of each axis, which form strips."""
    cut = np.zeros(len(coordinates[0]), np.int64)
    for axis, (each, side) in enumerate(zip(coordinates, box, strict=True)):
        first = each // side * side
        cut |= ((first < each.min()) | (first + side - 1 > each.max())).astype(np.int64) << axis
    yield cut
    yield from (each // side for each, side in zip(coordinates, box, strict=True))
    yield from (each % side for each, side in zip(coordinates, box, strict=True))


def _classes(query_class: Array, key_class: Array) -> KeyRanges:
    return tabulated(*segments_of(query_class, key_class), len(key_class))
