"""What a score computes with: `Real`, real expressions over the score, positions and weights."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Literal, NoReturn

import sympy

from attncc.errors import PatternError
from attncc.ir.comparisons import AtMost, Below, Compared, Same
from attncc.ir.condition import Condition, RealCondition, Symbolic, is_scalar_tensor, taken
from attncc.ir.functions import (
    Choice,
    ConditionSymbol,
    Cosine,
    ErrorFunction,
    Larger,
    Logarithm,
    Magnitude,
    Root,
    Sine,
    Smaller,
    number,
)
from attncc.ir.predicate import Predicate
from attncc.ir.rational import compared

#: Powers beyond this are refused.
MAX_POWER = 8


class Real(Symbolic):
    """A real expression.

    It has `+ - * / abs`, integer powers, comparisons, and the functions of attncc: `attncc.tanh`, `exp`, `log`, ...
    """

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

    def __lt__(self, other: object) -> Condition:
        return _compared("lt", self.expr, real_of(other))

    def __le__(self, other: object) -> Condition:
        return _compared("le", self.expr, real_of(other))

    def __gt__(self, other: object) -> Condition:
        return _compared("lt", real_of(other), self.expr)

    def __ge__(self, other: object) -> Condition:
        return _compared("le", real_of(other), self.expr)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return _compared("eq", self.expr, real_of(other))

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return ~(self == other)

    def _refused(self, other: object) -> NoReturn:
        raise PatternError(
            "A real number was divided with `//` or `%`, shifted, or used in `&`, `|` or `^`.",
            rule="Those are for index expressions, which are integers, made of positions, integers and tables; "
            "`&`, `|` and `^` also join comparisons.",
            fix="Write `//` instead of `/`, and put parentheses around comparisons.",
        )

    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refused
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _refused
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _refused

    def __index__(self) -> NoReturn:
        raise PatternError(
            "A real expression was used where Python needs one number.",
            rule="It stands for all pairs of positions at once.",
            fix="Use attncc.tanh, exp, log, sqrt, sin, cos and erf in place of those of math, numpy or torch.",
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
    if is_scalar_tensor(value):
        return taken(value).real()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if isinstance(value, numbers.Rational):  # integers, too
            return sympy.Rational(int(value.numerator), int(value.denominator))
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


#: What decides comparisons in floating point.
_FLOATING: dict[str, type[Compared]] = {"lt": Below, "le": AtMost, "eq": Same}


def _compared(relation: Literal["lt", "le", "eq"], a: sympy.Expr, b: sympy.Expr) -> Condition:
    """Compare exactly where both are fractions of integers, else as floating-point numbers."""
    exact = compared(relation, a, b)
    return RealCondition(_FLOATING[relation](a, b)) if exact is None else Condition(exact)


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
    """Return the natural logarithm. log(0) is -inf, which masks a pair where it is the score."""
    return Real(Logarithm(real_of(x)))


def sqrt(x: object) -> Real:
    """Return the square root."""
    return Real(Root(real_of(x)))


def sin(x: object) -> Real:
    """Return the sine."""
    return Real(Sine(real_of(x)))


def cos(x: object) -> Real:
    """Return the cosine."""
    return Real(Cosine(real_of(x)))


def erf(x: object) -> Real:
    """Return the error function."""
    return Real(ErrorFunction(real_of(x)))
