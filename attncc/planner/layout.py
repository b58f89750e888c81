"""Layouts: the order in which a clause's queries and keys are laid out, and the staircase that results.

Filters compact an axis to the positions that pass, joins sort both axes by class (each class is then a
contiguous segment), and within that order the bands leave each query one contiguous range of keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sympy

from attncc.ir.arithmetic import direction
from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.predicate import TRUE, Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.axis import Axis, listed
from attncc.planner.order import order_by
from attncc.planner.relation import Band, Join, Relation
from attncc.planner.shape import Shape
from attncc.planner.staircase import Edges, Staircase, tabulated

#: Class numbers and key values stay below this bound, so that a product of two fits in 64 bits.
CLASSES = 1 << 31


@dataclass(frozen=True, eq=False)
class Layout:
    """Query rows and keys in their order, the staircase between them, and what is left to check for each pair."""

    rows: Axis
    cols: Axis
    staircase: Staircase
    residual: Predicate | None

    @property
    def kind(self) -> str:
        """The kind of its axes: `sorted` if one of them is, else `compacted` if one is, else `identity`."""
        kinds = {self.rows.kind, self.cols.kind}
        return next(kind for kind in ("sorted", "compacted", "identity") if kind in kinds)


def lay_out(relation: Relation, shape: Shape) -> Layout:
    """Return the layout of a clause: filtered, sorted by its joins, with its bands as a staircase."""
    rows = _filtered(Axis(shape.q_len), relation.query_filter, I, shape.q_offset)
    cols = _filtered(Axis(shape.kv_len), relation.key_filter, J, 0)
    residual = None if relation.residual == TRUE else relation.residual
    if not relation.joins:
        return Layout(rows, cols, _banded(relation.bands, rows, cols, shape.q_offset), residual)
    query_class, key_class = _classes(relation.joins, rows, cols, shape.q_offset)
    query_order, key_order = _sorted_by(query_class), _sorted_by(key_class)
    rows, cols = rows.reordered(query_order), cols.reordered(key_order)
    classes = query_class[query_order], key_class[key_order]
    return Layout(rows, cols, _segmented(relation.bands, *classes, rows, cols, shape.q_offset), residual)


def _filtered(axis: Axis, condition: Predicate, symbol: sympy.Symbol, offset: int) -> Axis:
    if condition == TRUE:
        return axis
    holds = evaluate_predicate(condition, {symbol: listed(axis.length) + offset})
    passing = np.broadcast_to(holds, axis.length)
    return axis if passing.all() else axis.select(np.flatnonzero(passing))


def _banded(bands: tuple[Band, ...], rows: Axis, cols: Axis, offset: int) -> Staircase:
    """The staircase without classes: closed forms, evaluated only for the rows that are asked for."""
    keys = [_key_values(band, cols) for band in bands]

    def edges(slots: Array) -> Edges:
        query = rows.at(slots) + offset
        start, stop = np.zeros(slots.shape, np.int64), np.full(slots.shape, cols.size, np.int64)
        for band, values in zip(bands, keys, strict=True):
            lower, upper = _limits(band, query)
            if lower is not None:
                start = np.maximum(start, _first_at_least(lower, band, values))
            if upper is not None:
                stop = np.minimum(stop, _first_at_least(upper + 1, band, values))
        start = np.minimum(start, cols.size)
        return start, np.maximum(start, stop)

    if _rises(bands) and rows.kind != "sorted":
        return Staircase(rows.size, cols.size, edges, monotone=True)
    return tabulated(*edges(listed(rows.size)), cols.size)


def _rises(bands: tuple[Band, ...]) -> bool:
    limits = [limit for band in bands for limit in (band.low, band.high) if limit is not None]
    return all((direction(limit, I) or 0) > 0 or I not in limit.free_symbols for limit in limits)


def _key_values(band: Band, cols: Axis) -> Array | None:
    """The band's key expression at every key slot; None when it is the slot itself times a constant."""
    if cols.positions is None and _step(band.key):
        return None
    values = evaluate(band.key, {J: cols.places})
    return np.broadcast_to(np.asarray(values, np.int64), cols.size)


def _step(key: sympy.Expr) -> int:
    """Return c > 0 if the key expression is c * j, else 0."""
    factor, rest = key.as_coeff_Mul()
    return int(factor) if rest == J else 0


def _first_at_least(limit: Array, band: Band, values: Array | None) -> Array:
    """Return the first key slot whose key expression reaches `limit`."""
    slots: Array
    slots = np.maximum(-(-limit // _step(band.key)), 0) if values is None else np.searchsorted(values, limit)
    return slots


def _limits(band: Band, query: Array) -> tuple[Array | None, Array | None]:
    def at(limit: sympy.Expr | None) -> Array | None:
        return None if limit is None else np.broadcast_to(np.asarray(evaluate(limit, {I: query})), query.shape)

    return at(band.low), at(band.high)


def _classes(joins: tuple[Join, ...], rows: Axis, cols: Axis, offset: int) -> tuple[Array, Array]:
    """Return the class number of every query and key slot: equal exactly when all joins hold."""
    query = rows.places + offset
    key = cols.places
    of_query, of_key = np.zeros(rows.size, np.int64), np.zeros(cols.size, np.int64)
    for join in joins:
        left = np.broadcast_to(np.asarray(evaluate(join.query, {I: query})), of_query.shape)
        right = np.broadcast_to(np.asarray(evaluate(join.key, {J: key})), of_key.shape)
        of_query, of_key = _paired(of_query, of_key, left, right)
    return of_query, of_key


def _paired(a: Array, b: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Number the pairs (a, left) and (b, right) alike, in lexicographic order, by numbers below CLASSES."""
    if not len(left) or not len(right):
        return a, b
    left, right = _numbered(left, right)
    width = max(left.max(), right.max()) + 1
    return _numbered(a * width + left, b * width + right)


def _numbered(a: Array, b: Array) -> tuple[Array, Array]:
    """Shift two arrays to begin at 0; where their range is too wide, number the values instead. Order is kept."""
    low = min(a.min(), b.min())
    if max(a.max(), b.max()) - low < CLASSES:
        return a - low, b - low
    numbers = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
    return numbers[: len(a)], numbers[len(a) :]


def _sorted_by(classes: Array) -> Array:
    """Stable order by class."""
    sorted_already = bool(np.all(classes[1:] >= classes[:-1]))
    return np.arange(len(classes)) if sorted_already else order_by(classes)


def _segmented(
    bands: tuple[Band, ...], query_class: Array, key_class: Array, rows: Axis, cols: Axis, offset: int
) -> Staircase:
    """The staircase inside the classes: search for (class, limit) among the sorted (class, key) pairs."""
    first, last = _segments_of(query_class, key_class)
    query = rows.places + offset
    key = cols.places
    start, stop = first, last
    for band in bands:
        values = np.broadcast_to(np.asarray(evaluate(band.key, {J: key}), np.int64), key.shape)
        lower, upper = _limits(band, query)
        search = _SegmentSearch(key_class, values, query_class)
        if lower is not None:
            start = np.maximum(start, np.minimum(search(lower), last))
        if upper is not None:
            stop = np.minimum(stop, np.maximum(search(upper + 1), first))
    return tabulated(start, stop, cols.size)


def _segments_of(query_class: Array, key_class: Array) -> tuple[Array, Array]:
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
