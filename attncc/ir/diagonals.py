"""Diagonals: index expressions and predicates that depend on i and j through d = i - j alone, rewritten in d."""

from __future__ import annotations

import sympy

from attncc._util import caching
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.symbols import I, J

#: The diagonal i - j, which unlike i may be negative.
D = sympy.Symbol("d", integer=True)


@caching.algebra(1024)
def depends_on_gap(predicate: Predicate) -> bool:
    """Return whether the predicate is shown to depend on i - j alone, so that it is the same along diagonals."""
    return all(free_along_diagonals(atom.expr) for atom in predicate.atoms)


def free_along_diagonals(expr: sympy.Expr) -> bool:
    """Return whether an index expression is shown to depend on i - j alone, for gaps of either sign."""
    return J not in _in_gap(expr).free_symbols


@caching.algebra(1024)
def along_diagonals(predicate: Predicate) -> Predicate | None:
    """Return the predicate in D where it is shown to depend on i - j alone, else None."""
    return predicate.map(_rewritten) if depends_on_gap(predicate) else None


@caching.algebra(4096)
def _in_gap(expr: sympy.Expr) -> sympy.Expr:
    return sympy.expand(expr.xreplace({I: D + J}))


def _rewritten(atom: Atom) -> Predicate:
    return Atom(atom.relation, _in_gap(atom.expr))
