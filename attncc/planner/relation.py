"""Relational form of a clause: filters on either side, equi-joins, bands, and a residual.

The terms are those of a database planner. A filter looks at one side only. A join `f(i) = g(j)` splits both sides into
classes. A band `low(i) <= g(j) <= high(i)` bounds the keys of each query. The residual is what has to be evaluated for
each pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import sympy

from attncc._util import caching
from attncc.ir.arithmetic import direction, split_sum
from attncc.ir.evaluate import evaluate
from attncc.ir.normal import Clause, comparison
from attncc.ir.predicate import TRUE, Predicate, conjunction
from attncc.ir.remainder import Mod
from attncc.ir.span import Span
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read
from attncc.planner.axis import listed
from attncc.planner.pieces import pieces_of


@dataclass(frozen=True)
class Join:
    """`query(i) == key(j)`."""

    query: sympy.Expr
    key: sympy.Expr


@dataclass(frozen=True)
class Band:
    """`low(i) <= key(j) <= high(i)` with `key` nondecreasing in j; None is no bound."""

    key: sympy.Expr
    low: sympy.Expr | None
    high: sympy.Expr | None

    def predicate(self) -> Predicate:
        """Return the band as comparisons."""
        below = TRUE if self.low is None else comparison("ge", self.key - self.low)
        return below & (TRUE if self.high is None else comparison("ge", self.high - self.key))


@dataclass(frozen=True)
class Relation:
    """A clause sorted into its relational parts; their conjunction is the clause.

    `ordering` is a band whose key is a table's value, in any order, such as the buckets next to one's own: it is one
    range of keys where these are sorted by the value. Bands of positions then have no ranges, and are evaluated.
    """

    query_filter: Predicate
    key_filter: Predicate
    joins: tuple[Join, ...]
    bands: tuple[Band, ...]
    residual: Predicate
    ordering: Band | None = None

    def in_natural_order(self, clause: Clause) -> Relation:
        """Return the relation that moves and drops nothing: filters and joins are left to the residual."""
        filters = self.query_filter == self.key_filter == self.residual == TRUE
        if not self.joins and self.ordering is None and filters:
            return self
        return Relation(TRUE, TRUE, (), self.bands, clause.predicate())


def relate(clause: Clause, kv_len: int) -> Relation:
    """Sort the clause's spans into relational parts, for `kv_len` keys."""
    looks_up = any(form.has(Read) for form in clause.spans)
    return _related(clause, kv_len if looks_up else 0)  # without tables it is the same for all lengths


@caching.algebra(1024)
def _related(clause: Clause, kv_len: int) -> Relation:
    query: list[Predicate] = []
    key: list[Predicate] = []
    joins: list[Join] = []
    bands: list[Band] = []
    rest: list[Span] = []
    for span in clause.spans.values():
        if J not in span.form.free_symbols:
            query.append(span.predicate())
        elif band := _band(span, kv_len):
            bands.append(band)
        elif I not in span.form.free_symbols:
            key.append(span.predicate())
        elif join := _join(span):
            joins.append(join)
        else:
            rest.append(span)
    rest, implied = _implied(rest, joins)
    query += (condition for condition in implied if J not in condition.free)
    key += (condition for condition in implied if J in condition.free)
    ordering = None if joins else next(filter(_is_ordering, rest), None)
    residual = conjunction(span.predicate() for span in rest if span is not ordering)
    found = Relation(conjunction(query), conjunction(key), tuple(joins), tuple(bands), residual)
    return found if ordering is None else replace(found, ordering=_limited(ordering, *_parts(ordering), 1))


def _implied(rest: list[Span], joins: list[Join]) -> tuple[list[Span], list[Predicate]]:
    """Part spans into those that stay, and filters on one side that others are where the joins hold.

    Where a[i] = b[j], `a[j] != b[j]` says no more of a pair than of its key, and `c[i] != b[j]` than `c[i] != a[i]`.
    What the filters say of positions that no pair of the join has doesn't matter.
    """
    equal = [pair for join in joins for pair in ({join.key: join.query}, {join.query: join.key})]
    equal = [each | {-old: -new for old, new in each.items()} for each in equal]
    stay: list[Span] = []
    filters: list[Predicate] = []
    for span in rest:
        forms = (span.form.xreplace(each) for each in equal)
        form = next((form for form in forms if not {I, J} <= form.free_symbols), None)
        if form is None:
            stay.append(span)
        else:
            atoms = replace(span, form=form).predicate()
            filters.append(atoms.map(lambda atom: comparison(atom.relation, atom.expr)))
    return stay, filters


def _is_ordering(span: Span) -> bool:
    """Return whether a span is a band of values that tables have at the keys, with two ends: few keys, if sorted."""
    parts = None if span.holes or span.low is None or span.high is None else split_sum(span.form, I, J)
    return parts is not None and parts[1].has(Read)


def _parts(span: Span) -> tuple[sympy.Expr, sympy.Expr]:
    parts = split_sum(span.form, I, J)
    assert parts is not None
    return parts


def _band(span: Span, kv_len: int) -> Band | None:
    parts = split_sum(span.form, I, J)
    if parts is None or span.holes:
        return None
    turn = _direction_of_key(parts[1], kv_len)
    return None if turn is None else _limited(span, *parts, turn)


def _limited(span: Span, f: sympy.Expr, g: sympy.Expr, turn: int) -> Band:
    """Return the band of a span of f + g, g rising in j, or falling where `turn` isn't above 0."""
    low, high = span.low, span.high
    if turn > 0:
        return Band(g, None if low is None else low - f, None if high is None else high - f)
    return Band(-g, None if high is None else f - high, None if low is None else f - low)


def _direction_of_key(key: sympy.Expr, kv_len: int) -> int | None:
    """Return the direction of `key` over the keys 0 .. kv_len-1: by algebra, or by looking at every value."""
    shown = direction(key, J)
    reads = key.atoms(Read)
    if shown is not None or not reads or any(read.table.is_placeholder for read in reads):
        return shown
    pieces = pieces_of(key, J, kv_len) if kv_len else None
    for turn in (1, -1):
        if pieces is not None and (pieces if turn > 0 else -pieces).rises:
            return turn
    steps = np.diff(evaluate(key, {J: listed(kv_len)}))
    if np.all(steps >= 0):
        return 1
    return -1 if np.all(steps <= 0) else None


def _join(span: Span) -> Join | None:
    if span.value is None:
        return None
    form, value = span.form, span.value
    if isinstance(form, sympy.Mod) and form.args[1].is_Integer:
        dividend, modulus = form.args
        parts = split_sum(dividend, I, J)
        return parts and Join(Mod(parts[0] - value, modulus), Mod(-parts[1], modulus))
    parts = split_sum(form, I, J)
    return parts and Join(parts[0] - value, -parts[1])
