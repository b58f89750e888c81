"""Comparisons of real expressions, and what joins them with each other and with conditions on positions.

They stand in the condition of a `Choice` and nowhere else, and are decided as floating-point numbers are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, ClassVar

import sympy

from attncc.ir.functions import ConditionSymbol
from attncc.ir.predicate import FALSE, TRUE, Constant, Predicate


class _Logical(sympy.Function):  # type: ignore[misc]
    """What holds or doesn't."""

    is_commutative = True

    def _eval_derivative(self, symbol: sympy.Symbol) -> sympy.Expr:
        return sympy.S.Zero


class Compared(_Logical):
    """Base of the comparisons of two real expressions; either may be -inf."""

    function: ClassVar[Callable[[Any, Any], Any]]

    @classmethod
    def eval(cls, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr | None:
        """Return whether it holds, where that is known."""
        if not (a.is_number and b.is_number):
            return None
        return ConditionSymbol(TRUE if cls.function(float(a), float(b)) else FALSE)


class Below(Compared):
    """`a < b`."""

    function = operator.lt


class AtMost(Compared):
    """`a <= b`."""

    function = operator.le


class Same(Compared):
    """`a == b`."""

    function = operator.eq


class Joined(_Logical):
    """Base of the joints of two or more conditions; those on positions are put together."""

    function: ClassVar[Callable[[Any, Any], Any]]
    neutral: ClassVar[Constant]

    @classmethod
    def eval(cls, *args: sympy.Expr) -> sympy.Expr | None:
        """Return what the joint simplifies to, None where it is kept."""
        parts = [part for arg in args for part in (arg.args if isinstance(arg, cls) else (arg,))]
        on_positions = (part.predicate for part in parts if isinstance(part, ConditionSymbol))
        predicate = reduce(cls.function, on_positions, cls.neutral)
        rest = {part for part in parts if not isinstance(part, ConditionSymbol)}
        if isinstance(predicate, Constant) and (predicate != cls.neutral or not rest):
            return ConditionSymbol(predicate)
        decided = [] if predicate == cls.neutral else [ConditionSymbol(predicate)]
        kept = (*decided, *sorted(rest, key=sympy.default_sort_key))
        return None if kept == args else kept[0] if len(kept) == 1 else cls(*kept)


class Conjunction(Joined):
    """All of them hold."""

    function, neutral = operator.and_, TRUE


class Disjunction(Joined):
    """One of them holds."""

    function, neutral = operator.or_, FALSE


class Negation(_Logical):
    """It doesn't hold; of a comparison with NaN that isn't the opposite comparison."""

    @classmethod
    def eval(cls, condition: sympy.Expr) -> sympy.Expr | None:
        if isinstance(condition, ConditionSymbol):
            return ConditionSymbol(~condition.predicate)
        return condition.args[0] if isinstance(condition, Negation) else None


def implied(condition: sympy.Expr, holds: bool = True) -> Predicate:
    """Return a predicate on positions that holds wherever the condition does (or, not `holds`, wherever it doesn't)."""
    if isinstance(condition, ConditionSymbol):
        predicate: Predicate = condition.predicate
        return predicate if holds else ~predicate
    if isinstance(condition, Negation):
        return implied(condition.args[0], not holds)
    if isinstance(condition, Joined):
        join = operator.and_ if isinstance(condition, Conjunction) == holds else operator.or_
        return reduce(join, (implied(arg, holds) for arg in condition.args))
    return TRUE
