"""The period of a factorised pattern: how many sources decide for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import sympy

from attncc.ir.arithmetic import floor_quotient
from attncc.ir.diagonals import depends_on_gap
from attncc.ir.interval import NEVER, exactly, verdict
from attncc.ir.normal import comparison, digest
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.planner.shape import Shape


def period(subsets: Sequence[Predicate], shape: Shape) -> int:
    """Return a T so that paths from sources 0 .. T-1 decide for all: the length itself if nothing better is shown.

    Causal paths from j to i stay between j and i, so that a shift by a multiple of T keeps them inside.
    """
    if not all(_is_causal(subset, shape) for subset in subsets):
        return shape.q_len
    if all(depends_on_gap(subset) for subset in subsets):
        return min(1, shape.q_len)
    common = math.lcm(*(divisor for subset in subsets for divisor in _divisors(subset)))
    repeats = common < shape.q_len and all(_repeats(subset, common) for subset in subsets)
    return common if repeats else shape.q_len


def _is_causal(subset: Predicate, shape: Shape) -> bool:
    """Return whether j <= i is shown by interval evaluation of what the subset has with a gap i - j < 0."""
    gap = sympy.Symbol("gap", integer=True, positive=True)
    later = subset.map(lambda atom: comparison(atom.relation, sympy.expand(atom.expr.xreplace({J: I + gap}))))
    box = {I: (exactly(0), exactly(shape.q_len - 1)), gap: (exactly(1), exactly(shape.kv_len - 1))}
    return bool(verdict(later, box)[0] == NEVER)


def _divisors(subset: Predicate) -> list[int]:
    """Return the constant moduli and divisors in a predicate."""
    found = [mod.args[1] for atom in subset.atoms for mod in atom.expr.atoms(sympy.Mod)]
    found += [floor_quotient(floor)[1] for atom in subset.atoms for floor in atom.expr.atoms(sympy.floor)]
    return [int(divisor) for divisor in found if divisor.is_Integer]


def _repeats(subset: Predicate, shift: int) -> bool:
    """Return whether the subset is shown to be the same after a shift of both positions."""
    moved = subset.map(lambda atom: comparison(atom.relation, atom.expr.xreplace({I: I + shift, J: J + shift})))
    return digest(moved) == digest(subset)
