"""Specialisation: lengths, head and batch entry put into a predicate."""

from __future__ import annotations

from itertools import takewhile

import sympy

from attncc._util import caching
from attncc.ir.normal import rewritten
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import NK, NQ, B, H
from attncc.ir.tables import Read, TableData, TableSymbol
from attncc.planner.shape import Shape


def specialise(predicate: Predicate, shape: Shape, batch: int, head: int) -> Predicate:
    """Return the predicate of one head and batch entry, in i and j alone."""
    values = {NQ: shape.q_len, NK: shape.kv_len, B: batch, H: head}
    present = {symbol: sympy.Integer(value) for symbol, value in values.items() if symbol in predicate.free}
    if not present and all(read_is_plain(read) for atom in predicate.atoms for read in atom.expr.atoms(Read)):
        return predicate

    def specialised(expr: sympy.Expr) -> sympy.Expr:
        found = expr.xreplace(present)
        while sliced := {read: new for read in found.atoms(Read) if (new := _sliced(read)) != read}:
            found = found.xreplace(sliced)  # once more for those that stand in the indices of others
        return found

    return rewritten(predicate, specialised)


def read_is_plain(read: Read) -> bool:
    """Return whether no index of the look-up is a constant, so that there is nothing to slice off."""
    return not any(index.is_Integer for index in read.indices)


def _sliced(read: Read) -> sympy.Expr:
    """Replace constant leading indices by the slice of the table that they select."""
    leading = tuple(takewhile(lambda index: index.is_Integer, read.indices))
    if not leading:
        return read
    rest = read.args[1 + len(leading) :]
    if not rest:
        return sympy.Integer(int(read.table.data[_nearest(read.table, leading)]))
    return read.func(TableSymbol(row_of(read.table, leading)), *rest)


@caching.algebra(1024)
def row_of(table: TableData, leading: tuple[sympy.Expr, ...]) -> TableData:
    """Return what a table has at constant leading indices; those outside of it are moved to its end."""
    return TableData(table.data[_nearest(table, leading)], table.name)


def _nearest(table: TableData, leading: tuple[sympy.Expr, ...]) -> tuple[int, ...]:
    return tuple(min(max(int(at), 0), size - 1) for at, size in zip(leading, table.shape, strict=False))
