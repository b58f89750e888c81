"""Layouts: the order in which a clause's queries and keys are laid out, and the key ranges that result.

Filters compact an axis to the positions that pass. Joins sort both axes by class, so that each class is a contiguous
segment. Within that order the bands leave each query one contiguous range of keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy

from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.predicate import TRUE, Predicate, conjunction
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.axis import Axis, listed
from attncc.planner.bands import first_at_least, first_piece_at_least, key_values, limits, rises
from attncc.planner.classes import CLASSES, classes_of
from attncc.planner.cycle import Cycle
from attncc.planner.key_limits import key_limits
from attncc.planner.key_ranges import Edges, KeyRanges, everything, in_pieces, tabulated
from attncc.planner.order import order_by
from attncc.planner.periods import cycles
from attncc.planner.pieces import Pieces, pieces_of
from attncc.planner.relation import Band, Relation
from attncc.planner.shape import Shape
from attncc.planner.sides import Sides


@dataclass(frozen=True, eq=False)
class Layout:
    """Query rows and keys in their order, the key ranges between them, and what is left to check for each pair.

    `sides` are the residual's, where its tiles are told apart by their values.
    """

    rows: Axis
    cols: Axis
    key_ranges: KeyRanges
    residual: Predicate | None
    sides: Sides | None = None

    @property
    def kind(self) -> str:
        """`blocked`, or that of its axes: `sorted` if one of them is, else `compacted` if one is, else `identity`."""
        if self.sides is not None:
            return "blocked"
        kinds = {self.rows.kind, self.cols.kind}
        return next(kind for kind in ("sorted", "compacted", "identity") if kind in kinds)


def dense_layout(predicate: Predicate, shape: Shape) -> Layout:
    """Return the natural order in which every query sees every key, as far as the predicate holds."""
    return natural_layout(predicate, everything(shape.q_len, shape.kv_len))


def natural_layout(predicate: Predicate, key_ranges: KeyRanges) -> Layout:
    """Return the natural order with the whole predicate as residual, under key ranges that cover it.

    They are cut off where the predicate leaves no key to any query.
    """
    rows, cols = Axis(key_ranges.rows), Axis(key_ranges.cols)
    limits = key_limits(predicate, key_ranges.cols)
    return Layout(rows, cols, key_ranges.within(limits), None if predicate == TRUE else predicate)


def by_start(layout: Layout) -> Layout | None:
    """Return a layout in natural order with its queries sorted by where their key ranges begin; None if they are.

    Neighbours then see nearly the same keys, whatever the order in which a table has the limits.
    """
    if layout.key_ranges.monotone or layout.kind != "identity":
        return None
    start, stop = layout.key_ranges.bounds()
    order = order_by(start, stop)
    rows = layout.rows.reordered(order)
    if rows is layout.rows:
        return None
    return Layout(rows, layout.cols, tabulated(start[order], stop[order], layout.cols.size), layout.residual)


def lay_out(relation: Relation, shape: Shape) -> Layout:
    """Return the layout of a clause: filtered, sorted by its joins, with its bands as key ranges.

    Filters and joins that repeat along both axes are laid out in closed form, others by listing positions.
    """
    if relation.ordering is not None:
        return _ordered(relation, relation.ordering, shape)
    residual = None if relation.residual == TRUE else relation.residual
    if not relation.joins and relation.query_filter == relation.key_filter == TRUE:
        query, key = Axis(shape.q_len), Axis(shape.kv_len)
        return Layout(query, key, _banded(relation.bands, query, key, shape.q_offset), residual)
    found = cycles(relation, shape)
    if found is None:
        return _listed(relation, shape, residual)
    rows, cols = found
    return Layout(Axis.of(rows), Axis.of(cols), _cyclic(relation.bands, rows, cols, shape.q_offset), residual)


def _listed(relation: Relation, shape: Shape, residual: Predicate | None) -> Layout:
    """The layout of a clause whose positions are filtered and sorted one by one."""
    rows = filtered(Axis(shape.q_len), relation.query_filter, I, shape.q_offset)
    cols = filtered(Axis(shape.kv_len), relation.key_filter, J, 0)
    if not relation.joins:
        return Layout(rows, cols, _banded(relation.bands, rows, cols, shape.q_offset), residual)
    query_class, key_class = classes_of(relation.joins, rows.places + shape.q_offset, cols.places)
    query_order, key_order = _sorted_by(query_class), _sorted_by(key_class)
    rows, cols = rows.reordered(query_order), cols.reordered(key_order)
    classes = query_class[query_order], key_class[key_order]
    return Layout(rows, cols, _segmented(relation.bands, *classes, rows, cols, shape.q_offset), residual)


def _ordered(relation: Relation, ordering: Band, shape: Shape) -> Layout:
    """The layout of a clause whose keys are sorted by a value, and its queries by the limits of that."""
    rows = filtered(Axis(shape.q_len), relation.query_filter, I, shape.q_offset)
    cols = filtered(Axis(shape.kv_len), relation.key_filter, J, 0)
    values = np.broadcast_to(np.asarray(evaluate(ordering.key, {J: cols.places}), np.int64), cols.size)
    low, high = (limit for limit in limits(ordering, rows.places + shape.q_offset) if limit is not None)
    row_order, col_order = _sorted_by(low), _sorted_by(values)
    ascending = values[col_order]
    start = np.searchsorted(ascending, low[row_order])
    stop = np.searchsorted(ascending, high[row_order], side="right")
    residual = conjunction([relation.residual, *(band.predicate() for band in relation.bands)])
    rows, cols = rows.reordered(row_order), cols.reordered(col_order)
    return Layout(rows, cols, tabulated(start, stop, cols.size), None if residual == TRUE else residual)


def _cyclic(bands: tuple[Band, ...], rows: Cycle, cols: Cycle, offset: int) -> KeyRanges:
    """The key ranges between classes of two cycles: a band's limit is a position, and that a slot of the class."""
    natural = Axis(cols.length)
    keys = [key_values(band, natural) for band in bands]

    def edges(slots: Array) -> Edges:
        number = rows.class_at(slots)
        query = rows.within(number, slots) + offset
        start, stop = (np.broadcast_to(cols.starts[which], slots.shape) for which in (number, number + 1))
        for band, values in zip(bands, keys, strict=True):
            lower, upper = limits(band, query)
            if lower is not None:
                start = np.maximum(start, cols.slot(number, first_at_least(lower, band, values, natural)))
            if upper is not None:
                stop = np.minimum(stop, cols.slot(number, first_at_least(upper + 1, band, values, natural)))
        return start, np.maximum(start, stop)

    if rises(bands):  # in each class, and classes follow one another on both axes
        return KeyRanges(rows.size, cols.size, edges, monotone=True)
    return tabulated(*KeyRanges(rows.size, cols.size, edges, monotone=False).bounds(), cols.size)


def filtered(axis: Axis, condition: Predicate, symbol: sympy.Symbol, offset: int) -> Axis:
    """Return the axis with the slots whose positions, moved by `offset`, pass a condition on `symbol`."""
    if condition == TRUE:
        return axis
    holds = evaluate_predicate(condition, {symbol: listed(axis.length) + offset})
    passing = np.broadcast_to(holds, axis.length)
    return axis if passing.all() else axis.select(np.flatnonzero(passing))


def _banded(bands: tuple[Band, ...], rows: Axis, cols: Axis, offset: int) -> KeyRanges:
    """The key ranges without classes: pieces, or closed forms that are evaluated only for the rows asked for."""
    if not rises(bands) and rows.order is None and cols.order is None and rows.size:
        pieces = _in_pieces(bands, rows.size, cols.size, offset)
        if pieces is not None:
            return pieces
    keys = [key_values(band, cols) for band in bands]

    def edges(slots: Array) -> Edges:
        query = rows.at(slots) + offset
        start, stop = np.zeros(slots.shape, np.int64), np.full(slots.shape, cols.size, np.int64)
        for band, values in zip(bands, keys, strict=True):
            lower, upper = limits(band, query)
            if lower is not None:
                start = np.maximum(start, first_at_least(lower, band, values, cols))
            if upper is not None:
                stop = np.minimum(stop, first_at_least(upper + 1, band, values, cols))
        start = np.minimum(start, cols.size)
        return start, np.maximum(start, stop)

    if rises(bands) and rows.kind != "sorted":
        return KeyRanges(rows.size, cols.size, edges, monotone=True)
    return tabulated(*KeyRanges(rows.size, cols.size, edges, monotone=False).bounds(), cols.size)


def _in_pieces(bands: tuple[Band, ...], rows: int, cols: int, offset: int) -> KeyRanges | None:
    """The key ranges of bands whose limits are few pieces, in natural order; None where some aren't."""
    start, stop = Pieces.constant(rows, 0), Pieces.constant(rows, cols)
    for band in bands:
        for limit, beyond in ((band.low, 0), (band.high, 1)):
            if limit is None:
                continue
            values = pieces_of(limit, I, rows, offset)
            found = None if values is None else first_piece_at_least(values, beyond, band, cols)
            if found is None:
                return None
            start, stop = (start, stop.smaller(found)) if beyond else (start.larger(found), stop)
    return in_pieces(start, stop, cols)


def _sorted_by(classes: Array) -> Array:
    """Stable order by class."""
    sorted_already = bool(np.all(classes[1:] >= classes[:-1]))
    return np.arange(len(classes)) if sorted_already else order_by(classes)


def _segmented(
    bands: tuple[Band, ...], query_class: Array, key_class: Array, rows: Axis, cols: Axis, offset: int
) -> KeyRanges:
    """The key ranges inside the classes: search for (class, limit) among the sorted (class, key) pairs."""
    first, last = segments_of(query_class, key_class)
    query = rows.places + offset
    key = cols.places
    start, stop = first, last
    for band in bands:
        values = np.broadcast_to(np.asarray(evaluate(band.key, {J: key}), np.int64), key.shape)
        lower, upper = limits(band, query)
        search = _SegmentSearch(key_class, values, query_class)
        if lower is not None:
            start = np.maximum(start, np.minimum(search(lower), last))
        if upper is not None:
            stop = np.minimum(stop, np.maximum(search(upper + 1), first))
    return tabulated(start, stop, cols.size)


def segments_of(query_class: Array, key_class: Array) -> tuple[Array, Array]:
    """Return, for each of the sorted query classes, the range of key slots that have it; each class is sought once."""
    opens = np.flatnonzero(np.diff(query_class, prepend=query_class[:1] - 1))
    length = np.diff(np.append(opens, len(query_class)))
    sought = query_class[opens]
    first, last = np.searchsorted(key_class, sought), np.searchsorted(key_class, sought, side="right")
    return np.repeat(first, length), np.repeat(last, length)


class _SegmentSearch:
    """Finds, inside each query's class, the first key slot whose value reaches a limit."""

    def __init__(self, key_class: Array, values: Array, query_class: Array) -> None:
        self.ranked = len(values) > 0 and int(values.max()) - int(values.min()) >= CLASSES
        self.known = np.unique(values) if self.ranked else values[:0]
        ranks = np.searchsorted(self.known, values) if self.ranked else values
        self.low = int(ranks.min()) if len(ranks) else 0
        self.width = (int(ranks.max()) - self.low if len(ranks) else 0) + 2
        self.composite = key_class * self.width
        self.composite += ranks
        self.base = query_class * self.width

    def __call__(self, limit: Array) -> Array:
        if self.ranked:
            limit = np.searchsorted(self.known, limit)
        inside = np.clip(limit, self.low, self.low + self.width - 1)
        inside += self.base
        slots: Array = np.searchsorted(self.composite, inside)
        return slots
