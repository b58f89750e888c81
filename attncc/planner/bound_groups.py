"""Batch entries and heads that see alike: the predicate that they share, and the tables that it looks up.

Entries and heads that differ by their rows of tables alone share the structure of their predicates, with a placeholder
for a row: what planning finds out about it holds for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from itertools import takewhile

import sympy

from attncc._util import caching
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import Tables, slots_of
from attncc.ir.normal import digest, rewritten
from attncc.ir.placeholders import Placeholder
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H
from attncc.ir.tables import Read, TableSymbol
from attncc.planner.checks import reads_of
from attncc.planner.members import Members, grouped
from attncc.planner.shape import Shape
from attncc.planner.specialise import read_is_plain, row_of, specialise


@dataclass(frozen=True, eq=False)
class BoundPredicate:
    """A predicate in i and j, and the tables that take the places of its placeholders."""

    predicate: Predicate
    tables: Tables


@dataclass(frozen=True, eq=False)
class _Row:
    """A placeholder for the row of another one's table that a batch entry and a head look up."""

    symbol: TableSymbol
    of: TableSymbol
    leading: tuple[sympy.Expr, ...]


@dataclass(frozen=True, eq=False)
class _MemberTemplate:
    """A template's predicate as one batch entry and head has it, with placeholders for rows of tables."""

    predicate: Predicate
    rows: tuple[_Row, ...]

    def bound(self, tables: Tables, batch: int, head: int) -> Tables:
        """Return the tables and the rows of tables that a batch entry and head look up."""
        if not self.rows:
            return tables
        place = {B: sympy.Integer(batch), H: sympy.Integer(head)}
        rows = {row.symbol: row_of(tables[row.of], tuple(place.get(at, at) for at in row.leading)) for row in self.rows}
        return {**tables, **rows}


def bound_groups(pattern: Pattern, shape: Shape) -> list[tuple[Members, BoundPredicate]]:
    """Return the groups of batch entries and heads that see alike, and what they see."""
    template = _of_member(pattern.template.predicate)
    if template is None:  # entries are put in, so that heads with equal ones share a group
        groups = shared(pattern.predicate, shape, pattern.free)
        return [(members, BoundPredicate(predicate, {})) for members, predicate in groups]
    by_entry, by_head = B in pattern.free, H in pattern.free

    def seen(batch: int, head: int) -> tuple[Hashable, BoundPredicate]:
        found = specialise(template.predicate, shape, batch, head)
        tables = template.bound(pattern.bound, batch, head)
        contents = tuple(tables[row.symbol].digest for row in template.rows) if by_entry or by_head else ()
        return (digest(found), contents), BoundPredicate(found, tables)

    return grouped(shape.batch, shape.heads, by_entry, by_head, seen)


def shared(predicate: Predicate, shape: Shape, free: Collection[sympy.Symbol]) -> list[tuple[Members, Predicate]]:
    """Return the groups that share a specialised predicate; `free` says whether entries and heads are told apart."""

    def special(batch: int, head: int) -> tuple[str, Predicate]:
        found = specialise(predicate, shape, batch, head)
        return digest(found), found

    return grouped(shape.batch, shape.heads, B in free, H in free, special)


@caching.algebra(1024)
def _of_member(template: Predicate) -> _MemberTemplate | None:
    """Return what a batch entry and head has of a template; None where that takes more than rows of tables.

    A look-up by the batch entry and head alone is a number, which planning is to know.
    """
    rows: dict[tuple[TableSymbol, tuple[sympy.Expr, ...]], _Row] = {}
    first = slots_of(table for table in template.tables if isinstance(table, Placeholder))

    def of_row(read: Read) -> Read:
        leading, table = tuple(takewhile(_is_leading, read.indices)), read.table
        if not leading or not isinstance(table, Placeholder) or len(leading) == table.ndim:
            return read
        key = read.args[0], leading
        if key not in rows:
            rows[key] = _Row(TableSymbol(table.row(first + len(rows), len(leading))), *key)
        found: Read = read.func(rows[key].symbol, *read.args[1 + len(leading) :])
        return found

    def in_rows(expr: sympy.Expr) -> sympy.Expr:
        while changed := {read: new for read in expr.atoms(Read) if (new := of_row(read)) != read}:
            expr = expr.xreplace(changed)  # once more for those that stand in the indices of others
        return expr

    found = rewritten(template, in_rows)
    if any(not read_is_plain(read) or read.free_symbols & {B, H} for read in reads_of(found)):
        return None
    return _MemberTemplate(found, tuple(rows.values()))


def _is_leading(index: sympy.Expr) -> bool:
    return bool(index in (B, H) or index.is_Integer)
