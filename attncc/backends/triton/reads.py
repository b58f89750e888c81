"""Reads of tables and weights whose place depends on both the query and the key: a load for each pair of a tile."""

from __future__ import annotations

from collections.abc import Iterable

import sympy

from attncc.ir.functions import Lookup
from attncc.ir.predicate import Predicate
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import H, I, J
from attncc.ir.tables import Read


def are_pipelined(arch: str) -> bool:
    """Return whether an architecture's compiler takes such a read in a pipelined loop.

    Triton's AMD compiler guards the products after a pipelined loop, moves layout conversions into that branch and with
    them those of masks, whose elements of one bit its shared memory doesn't take.
    """
    return not arch.startswith("gfx")


def in_predicate(predicate: Predicate | None) -> bool:
    """Return whether a predicate reads a table by pairs."""
    return predicate is not None and _by_pairs((atom.expr for atom in predicate.atoms), {I})


def in_score(score: ScoreExpression | None, *, packed: bool) -> bool:
    """Return whether a score reads by pairs; `packed`: rows of a tile differ in their head, too."""
    if score is None:
        return False
    expressions = [score.expr, *(atom.expr for predicate in score.predicates for atom in predicate.atoms)]
    return _by_pairs(expressions, {H, I} if packed else {I})


def _by_pairs(expressions: Iterable[sympy.Expr], of_row: set[sympy.Symbol]) -> bool:
    free = (read.free_symbols for expr in expressions for read in expr.atoms(Read, Lookup))
    return any(J in symbols and symbols & of_row for symbols in free)
