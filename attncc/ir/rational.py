"""Exact comparisons of real expressions that are fractions of integers: both sides times their denominators.

`abs(i / 8 - j / 8) <= 3` is `abs(i - j) <= 24`. A number with a decimal point is the decimal that is written: 0.1 is
a tenth, not the floating-point number next to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import sympy

from attncc.errors import PatternError
from attncc.ir import cases, size
from attncc.ir.cases import Cases
from attncc.ir.functions import AsReal, Choice, ConditionSymbol, Larger, Magnitude, Smaller
from attncc.ir.predicate import Predicate

#: Denominators of numbers in comparisons are at most this: nine digits after the point.
MAX_DENOMINATOR = 10**9


@dataclass(frozen=True)
class Fraction:
    """An integer expression, in cases, divided by a number."""

    numerator: Cases
    denominator: int = 1


def compared(relation: Literal["lt", "le", "eq"], a: sympy.Expr, b: sympy.Expr) -> Predicate | None:
    """Return where a < b, a <= b or a == b, exactly, or None where one of them isn't a fraction of integers."""
    left, right = fraction(a), fraction(b)
    if left is None or right is None:
        return None
    for side, expr in ((left, a), (right, b)):
        _check(side.denominator, expr)
    gap = _sum(right, Fraction(cases.applied(lambda x: -x, left.numerator), left.denominator)).numerator
    if relation == "lt":
        return cases.related("ge", cases.applied(lambda x: x - 1, gap))
    return cases.related("ge" if relation == "le" else "eq", gap)


def fraction(expr: sympy.Expr) -> Fraction | None:
    """Return a real expression as a fraction of integers, or None where it isn't one."""
    match expr:
        case sympy.Rational():
            return Fraction(cases.of_one(sympy.Integer(expr.p)), int(expr.q))
        case sympy.Float():
            return fraction(sympy.Rational(repr(float(expr))))
        case AsReal():
            return Fraction(cases.of_one(expr.args[0]))
        case Choice() if isinstance(expr.args[0], ConditionSymbol):
            return _choice(expr)
        case sympy.Add() | sympy.Mul() | Smaller() | Larger() | Magnitude():
            parts = [fraction(arg) for arg in expr.args]
        case sympy.Pow() if expr.exp.is_Integer and expr.exp > 0:
            parts = [fraction(expr.base)] * int(expr.exp)
        case _:
            return None
    known = [part for part in parts if part is not None]
    return _joined(expr, known) if len(known) == len(parts) else None


def _joined(expr: sympy.Expr, parts: list[Fraction]) -> Fraction:
    """Return what an expression makes of its parts."""
    result = parts[0]
    if isinstance(expr, Magnitude):
        return Fraction(cases.applied(sympy.Abs, result.numerator), result.denominator)
    for part in parts[1:]:
        if isinstance(expr, sympy.Add):
            result = _sum(result, part)
        elif isinstance(expr, Smaller | Larger):
            result = _extremum(sympy.Min if isinstance(expr, Smaller) else sympy.Max, result, part)
        else:
            product = cases.applied(lambda x, y: x * y, result.numerator, part.numerator)
            result = Fraction(product, result.denominator * part.denominator)
    return result


def _sum(a: Fraction, b: Fraction) -> Fraction:
    x, y, denominator = _alike(a, b)
    return Fraction(cases.applied(lambda x, y: x + y, x, y), denominator)


def _extremum(function: type[sympy.Expr], a: Fraction, b: Fraction) -> Fraction:
    x, y, denominator = _alike(a, b)
    return Fraction(cases.applied(lambda *args: size.extremum(function, *args), x, y), denominator)


def _choice(expr: Choice) -> Fraction | None:
    condition, yes, no = expr.args
    a, b = fraction(yes), fraction(no)
    if a is None or b is None:
        return None
    x, y, denominator = _alike(a, b)
    return Fraction(cases.chosen(condition.predicate, x, y), denominator)


def _alike(a: Fraction, b: Fraction) -> tuple[Cases, Cases, int]:
    """Return the numerators over one denominator, and it."""
    denominator = math.lcm(a.denominator, b.denominator)
    first, second = denominator // a.denominator, denominator // b.denominator
    scaled = (
        cases.applied(lambda x: first * x, a.numerator),
        cases.applied(lambda x: second * x, b.numerator),
    )
    return *scaled, denominator


def _check(denominator: int, expr: sympy.Expr) -> None:
    """Raise PatternError where one side of an exact comparison has too fine a number."""
    if denominator > MAX_DENOMINATOR:
        numbers = sorted(expr.atoms(sympy.Rational, sympy.Float), key=lambda n: -sympy.Rational(repr(float(n))).q)
        raise PatternError(
            f"{float(numbers[0])!r} was compared with positions.",
            rule="Positions are compared exactly: a number with a decimal point is the decimal that is written, of at "
            "most nine digits after the point.",
            fix="Write a fraction as one, as in i / 3 or fractions.Fraction(1, 3) * i, or fewer digits.",
        )
