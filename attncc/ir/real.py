"""What a score computes with: `Real`, real expressions over the score, positions and weights."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import NoReturn

import sympy

from attncc.errors import PatternError
from attncc.ir.functions import Choice, ConditionSymbol, Larger, Logarithm, Magnitude, Root, Smaller, number
from attncc.ir.predicate import Predicate

#: Powers beyond this are refused.
MAX_POWER = 8


class Symbolic:
    """Refuses to be decided by Python: shared by Index, Condition and Real."""

    __array_ufunc__ = None  # numpy scalars hand the operation to our reflected operators

    def __bool__(self) -> NoReturn:
        raise PatternError(
            "A comparison of positions was used as True or False: `and`, `or`, `not`, `if`, `in`, max(), min() or a "
            "chained `a < b < c`.",
            rule="i and j stand for all positions at once, so Python can't decide the comparison.",
            fix="Write & for and, | for or, ~ for not, attncc.where(c, x, y) for if, attncc.maximum for max, "
            "(a < b) & (b < c) for a chain.",
        )

    def real(self) -> sympy.Expr:
        """Return the value as a real expression."""
        raise TypeError(type(self))


class Real(Symbolic):
    """A real expression; supports `+ - * / abs`, powers that are integers, and attncc's functions."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expr: sympy.Expr) -> None:
        self.expr = expr

    def real(self) -> sympy.Expr:
        """Return the expression."""
        return self.expr

    def __add__(self, other: object) -> Real:
        return Real(self.expr + real_of(other))

    def __sub__(self, other: object) -> Real:
        return Real(self.expr - real_of(other))

    def __rsub__(self, other: object) -> Real:
        return Real(real_of(other) - self.expr)

    def __mul__(self, other: object) -> Real:
        return Real(self.expr * real_of(other))

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: object) -> Real:
        divisor = real_of(other)
        if divisor.is_zero:
            raise PatternError(
                f"{self!r} was divided by 0.",
                rule="Divisors aren't 0.",
                fix="Divide by something else, or choose with attncc.where.",
            )
        return Real(self.expr / divisor)

    def __rtruediv__(self, other: object) -> Real:
        return Real(real_of(other)) / self

    def __neg__(self) -> Real:
        return Real(-self.expr)

    def __pos__(self) -> Real:
        return self

    def __abs__(self) -> Real:
        return Real(Magnitude(self.expr))

    def __pow__(self, exponent: object) -> Real:
        if not isinstance(exponent, int) or isinstance(exponent, bool) or abs(exponent) > MAX_POWER:
            raise PatternError(
                f"A real number was raised to the power {exponent!r}.",
                rule=f"Powers are integers from -{MAX_POWER} to {MAX_POWER}.",
                fix="Write attncc.sqrt(x), or attncc.exp(y * attncc.log(x)) for another power of a positive number.",
            )
        return Real(self.expr**exponent)

    def __rpow__(self, base: object) -> Real:
        positive = real_of(base)
        if not positive.is_number or not positive > 0:
            raise PatternError(
                f"The base of a power is {base!r}.",
                rule="It is a number above 0.",
                fix="Write attncc.exp(y * attncc.log(x)) for another base x.",
            )
        return Real(sympy.exp(self.expr * Logarithm(positive)))

    def _refused(self, other: object) -> NoReturn:
        raise PatternError(
            "A real number was compared, or divided with `//` or `%`.",
            rule="Comparisons, `//` and `%` are for index expressions. Index expressions are integers, "
            "made of positions, integers and tables.",
            fix="Write `//` instead of `/`, and attncc.minimum, attncc.maximum or abs for real numbers.",
        )

    __lt__ = __le__ = __gt__ = __ge__ = _refused
    __eq__ = __ne__ = _refused
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refused

    def __index__(self) -> NoReturn:
        raise PatternError(
            "A real expression was used where Python needs one number.",
            rule="It stands for all pairs of positions at once.",
            fix="Use attncc.tanh, attncc.exp, attncc.log and attncc.sqrt in place of those of math, numpy or torch.",
        )

    __int__ = __float__ = __index__

    def __repr__(self) -> str:
        return f"Real({self.expr})"


def is_real(value: object) -> bool:
    """Return whether arithmetic with `value` leaves the integers: a Real, or a number that isn't integral."""
    return isinstance(value, Real) or (isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral))


def real_of(value: object) -> sympy.Expr:
    """Return `value`, an Index, a Real or a number, as a real expression; -inf is a number here, inf isn't."""
    if isinstance(value, Symbolic):
        return value.real()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if isinstance(value, numbers.Integral):
            return sympy.Integer(int(value))
        found = float(value)
        if math.isfinite(found):
            return number(found)
        if found == -math.inf:
            return sympy.S.NegativeInfinity
    raise PatternError(
        f"{value!r} ({type(value).__name__}) was used in a score.",
        rule="Scores are made of the score, positions, numbers below infinity, tables and weights.",
        fix="Declare a tensor as a parameter annotated with attncc.Weights, and look it up.",
    )


def chosen(cases: Sequence[tuple[Predicate, sympy.Expr]]) -> sympy.Expr:
    """Return the expression that is the first one whose guard holds; the last guard is taken to hold."""
    result = cases[-1][1]
    for guard, expr in reversed(cases[:-1]):
        result = Choice(ConditionSymbol(guard), expr, result)
    return result


def smaller(a: object, b: object) -> Real:
    """Return the smaller of two numbers."""
    return Real(Smaller(real_of(a), real_of(b)))


def larger(a: object, b: object) -> Real:
    """Return the larger of two numbers."""
    return Real(Larger(real_of(a), real_of(b)))


def tanh(x: object) -> Real:
    """Return the hyperbolic tangent, for soft-capping: `cap * attncc.tanh(score / cap)`."""
    return Real(sympy.tanh(real_of(x)))


def exp(x: object) -> Real:
    """Return the exponential."""
    return Real(sympy.exp(real_of(x)))


def log(x: object) -> Real:
    """Return the natural logarithm; log(0) is -inf, which masks a pair where it is the score."""
    return Real(Logarithm(real_of(x)))


def sqrt(x: object) -> Real:
    """Return the square root."""
    return Real(Root(real_of(x)))
