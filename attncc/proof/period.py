"""The period of a factorised pattern: how many sources decide for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from attncc.ir.diagonals import depends_on_gap
from attncc.ir.interval import NEVER, exactly, verdict
from attncc.ir.normal import rewritten
from attncc.ir.period import common, common_period
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
    turn = common(common_period(subset, frozenset([(I, 1), (J, 1)])) for subset in subsets)
    return min(turn or shape.q_len, shape.q_len)


def _is_causal(subset: Predicate, shape: Shape) -> bool:
    """Return whether j <= i is shown by interval evaluation of what the subset has with a gap i - j < 0."""
    gap = sympy.Symbol("gap", integer=True, positive=True)
    later = rewritten(subset, lambda expr: sympy.expand(expr.xreplace({J: I + gap})))
    box = {I: (exactly(0), exactly(shape.q_len - 1)), gap: (exactly(1), exactly(shape.kv_len - 1))}
    return bool(verdict(later, box)[0] == NEVER)
