"""The outline of a predicate: what is left of it when the contents of its tables are forgotten."""

from __future__ import annotations

import hashlib

import sympy

from attncc._util import caching
from attncc.ir.normal import digest, structure
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.tables import TableData, TableSymbol


@caching.algebra(1024)
def outline(predicate: Predicate) -> str:
    """Return a SHA-256 that equal predicates share, and those that differ in nothing but the contents of tables.

    Tables count by name, rank and kind. Without tables it is the digest.
    """
    if not predicate.tables:
        return digest(predicate)
    stand_ins = _stand_ins(predicate.tables)
    text = structure(predicate.map(lambda atom: _without_contents(atom, stand_ins)))
    return hashlib.sha256(text.encode()).hexdigest()


def _stand_ins(tables: frozenset[TableData]) -> dict[sympy.Basic, sympy.Symbol]:
    """Name each table; those of one name, rank and kind are numbered, in the order of their contents."""
    found: dict[sympy.Basic, sympy.Symbol] = {}
    counts: dict[str, int] = {}
    for table in sorted(tables, key=lambda each: each.digest):
        name = f"{table.name}_{table.data.ndim}{'b' if table.is_boolean else ''}"
        counts[name] = counts.get(name, 0) + 1
        found[TableSymbol(table)] = sympy.Symbol(f"{name}_{counts[name]}", integer=True)
    return found


def _without_contents(atom: Atom, stand_ins: dict[sympy.Basic, sympy.Symbol]) -> Predicate:
    expr = atom.expr.xreplace(stand_ins)
    if atom.relation != "ge":  # which of its terms leads, and so its sign, was decided by the contents
        expr = min(expr, -expr, key=str)
    return Atom(atom.relation, expr)
