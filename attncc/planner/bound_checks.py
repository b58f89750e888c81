"""Checks of patterns with their tables: settled once for a template, where they hold at all positions."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import sympy

from attncc._util import caching
from attncc.errors import PatternError, TableError
from attncc.frontend.patterns import Pattern
from attncc.ir.placeholders import Placeholder
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import MAX_POSITION, NK, NQ, B, H, I, J
from attncc.ir.tables import Read, TableData, TableSymbol
from attncc.planner.checks import ENDS, check, check_arithmetic, check_lengths, limits_of, reads_of, title
from attncc.planner.shape import Shape

_is_narrow = attrgetter("is_narrow")
#: Symbols, with their least and greatest value.
Rounded = tuple[tuple[sympy.Symbol, int, int], ...]
#: Placeholders, with bounds of the entries of the tables that take their places.
Ends = tuple[tuple[Placeholder, int, int], ...]


class _BoundRead(NamedTuple):
    """A look-up: its table, what may stand for it, and the least and greatest index along each axis at a shape."""

    symbol: TableSymbol
    table: TableData
    ends: tuple[Callable[[Shape], tuple[int, int]], ...]

    @classmethod
    def of(cls, read: Read) -> _BoundRead:
        return cls(read.args[0], read.table, tuple(map(_ends_of, read.indices)))


def _ends_of(index: sympy.Expr) -> Callable[[Shape], tuple[int, int]]:
    """Return the ends of a symbol or a number, and of anything else such that they fit no table."""
    number = int(index) if index.is_Integer else -1
    return ENDS.get(index, lambda shape: (number, number))


class _MemberRead(NamedTuple):
    """A look-up by batch entry or head: its table, what may stand for it, and the axes that have one for each."""

    read: Read
    symbol: TableSymbol
    table: TableData
    by_entry: tuple[int, ...]
    by_head: tuple[int, ...]

    @classmethod
    def of(cls, read: Read) -> _MemberRead:
        axes = (tuple(axis for axis, index in enumerate(read.indices) if index == symbol) for symbol in (B, H))
        return cls(read, read.args[0], read.table, *axes)


class _Settled(NamedTuple):
    """What is known of a template for all lengths and tables.

    Attributes:
        reads: Its look-ups.
        of_members: Those of them by batch entry or head.
        has_lengths: Whether it names n_q or n_k.
        is_exact: Whether its arithmetic fits 64 bits at all positions, with tables of 32 bits.
    """

    reads: tuple[_BoundRead, ...]
    of_members: tuple[_MemberRead, ...]
    has_lengths: bool
    is_exact: bool


@caching.algebra(1024)
def _settled(template: Predicate) -> _Settled:
    reads = reads_of(template)
    of_members = tuple(_MemberRead.of(read) for read in reads if {B, H} & set(read.indices))
    bound = tuple(map(_BoundRead.of, reads))
    return _Settled(bound, of_members, bool({NQ, NK} & template.free), _is_exact_everywhere(template))


def check_bound(pattern: Pattern, shape: Shape) -> None:
    """Raise what `checks.check` does for a pattern's predicate, and ShapeError for a length that its grids don't have.

    Most patterns are shown to be right by their template, for all lengths and tables up to the next powers of two.
    """
    if not shape.q_len or not shape.kv_len:
        return
    settled = _settled(pattern.template.predicate)
    if settled.has_lengths:
        check_lengths(pattern.template.predicate, shape, pattern)
    if not (_fits(settled, pattern, shape) and _is_exact_at(settled, pattern, shape)):
        check(pattern.predicate, shape)


def check_sizes(pattern: Pattern, shape: Shape) -> None:
    """Raise TableError unless tables that differ by batch entry or head have one entry for each, and no more."""
    for read, symbol, own, by_entry, by_head in _settled(pattern.template.predicate).of_members:
        table = pattern.bound.get(symbol, own)
        sizes = table.shape
        for axes, what, number in ((by_entry, "batch entries", shape.batch), (by_head, "heads", shape.heads)):
            for axis in axes:
                if sizes[axis] != number:
                    raise TableError(
                        f"{title(read, table)} {sizes[axis]} {what}, the tensors have {number}.",
                        rule="A table that differs by batch entry or head has one entry for each of them.",
                        fix="Slice the table, or give the dimension size 1 to share it.",
                    )


def _fits(settled: _Settled, pattern: Pattern, shape: Shape) -> bool:
    """Return whether every look-up of a table, by a symbol or a number, lies inside of it wherever it stands."""
    bound = pattern.bound
    for symbol, table, ends in settled.reads:
        for ends_of, size in zip(ends, bound.get(symbol, table).shape, strict=False):
            low, high = ends_of(shape)
            if low < 0 or high >= size:
                return False
    return True


def _is_exact_at(settled: _Settled, pattern: Pattern, shape: Shape) -> bool:
    """Return whether the arithmetic is shown to fit 64 bits, at all positions or at those of a shape."""
    if settled.is_exact and all(map(_is_narrow, pattern.bound.values())):
        return True
    return _is_exact(pattern.template.predicate, *_rounded(pattern, shape))


def _rounded(pattern: Pattern, shape: Shape) -> tuple[Rounded, Ends]:
    """Return the limits of symbols and the ranges of tables, rounded away from 0 to powers of two."""
    limits = ((symbol, min(_power(low), 0), max(_power(high), 0)) for symbol, (low, high) in limits_of(shape).items())
    ranges = ((table, pattern.bound[symbol].range) for symbol, table in pattern.template.placeholders.items())
    return tuple(limits), tuple((table, _power(least), _power(most)) for table, (least, most) in ranges)


def _power(value: int) -> int:
    """Return the next power of two, away from 0, but MAX_POSITION - 1 for what reaches that."""
    found = 1 << (abs(value) - 1).bit_length() if value else 0
    found = min(found, MAX_POSITION - 1) if abs(value) < MAX_POSITION else found
    return found if value >= 0 else -found


def _is_exact_everywhere(template: Predicate) -> bool:
    """Return whether a template's arithmetic fits 64 bits at all positions, with tables of 32 bits."""
    most = MAX_POSITION - 1
    limits = tuple((symbol, -most if symbol == I else 0, most) for symbol in (I, J, H, B))
    tables = frozenset(read.table for read in reads_of(template))
    placeholders = [table for table in tables if isinstance(table, Placeholder)]
    return _is_exact(template, limits, tuple((table, -most, most) for table in placeholders))


@caching.algebra(4096)
def _is_exact(template: Predicate, rounded: Rounded, ends: Ends) -> bool:
    """Return whether the arithmetic of a template is shown to fit 64 bits, tables being within their ends."""
    if {NQ, NK} & template.free:
        return False
    limits = {symbol: (low, high) for symbol, low, high in rounded}
    known = {TableSymbol(table): TableSymbol(table.within(least, most)) for table, least, most in ends}
    try:
        for atom in template.atoms:
            check_arithmetic(atom.expr.xreplace(known) if known else atom.expr, limits)
    except PatternError:
        return False
    return True
