"""Periods: after how many steps along a direction an expression is the same again, shown by its structure.

What is followed through an expression is its growth, the k in f(x + P) = f(x) + k: a quotient of what grows evenly
grows evenly, its residue repeats. Below a `% m` all of this is modulo m, where products repeat as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import sympy

from attncc._util import caching
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.bits import BitAnd
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Read

#: How far each symbol moves with a step; the others stay.
Direction = frozenset[tuple[sympy.Symbol, int]]
#: (turn, growth): an expression grows by `growth` every `turn` steps.
Growth = tuple[int, int]


@caching.algebra(4096)
def period(expr: sympy.Expr, along: Direction) -> int | None:
    """Return a P > 0 such that `expr` is shown to be the same P steps on, from any integers; None if none is shown."""
    return _repeating(_growth(expr, along, 0), 0)


def common_period(predicate: Predicate, along: Direction) -> int | None:
    """Return a P > 0 such that a predicate is shown to be the same P steps on; None if none is shown."""
    return common([period(atom.expr, along) for atom in predicate.atoms])


def common(periods: Iterable[int | None]) -> int | None:
    """Return the period of what has parts of these periods, None if one has none."""
    found = list(periods)
    known = [turn for turn in found if turn is not None]
    return math.lcm(*known) if len(known) == len(found) else None


def _growth(expr: sympy.Expr, along: Direction, modulus: int) -> Growth | None:
    """Return how an expression grows, modulo `modulus` (0: exactly), or None where nothing is shown."""
    match expr:
        case sympy.Rational() if not expr.is_Integer:
            return None
        case sympy.Symbol():
            return 1, dict(along).get(expr, 0)
        case sympy.Add():
            return _sum([_growth(term, along, modulus) for term in expr.args])
        case sympy.Mul() if expr.args[0].is_Integer:
            factor = int(expr.args[0])
            rest = _growth(sympy.Mul(*expr.args[1:]), along, modulus // math.gcd(factor, modulus))
            return rest and (rest[0], rest[1] * factor)
        case sympy.Mul() | sympy.Pow():
            return _constant(common(_repeating(_growth(arg, along, modulus), modulus) for arg in expr.args))
        case sympy.floor():
            return _quotient(*floor_quotient(expr), along, modulus)
        case sympy.Mod() if expr.args[1].is_Integer:
            divisor = int(expr.args[1])
            return _constant(_repeating(_growth(expr.args[0], along, divisor), divisor))
        case BitAnd() if expr.args[-1].is_Integer and expr.args[-1] > 0:
            reach = 1 << int(expr.args[-1]).bit_length()
            return _constant(common(_repeating(_growth(arg, along, reach), reach) for arg in expr.args[:-1]))
        case sympy.Min() | sympy.Max():
            return _extremum([_growth(arg, along, 0) for arg in expr.args])
        case Read():
            return _constant(common(period(arg, along) for arg in expr.args[1:]))
    return _constant(common(period(arg, along) for arg in expr.args))


def _repeating(growth: Growth | None, modulus: int) -> int | None:
    """Return after how many steps the growth is 0, modulo `modulus`."""
    if growth is None:
        return None
    turn, grown = growth
    if modulus:
        return turn * (modulus // math.gcd(grown, modulus))
    return turn if grown == 0 else None


def _constant(turn: int | None) -> Growth | None:
    return None if turn is None else (turn, 0)


def _alike(parts: list[Growth | None]) -> tuple[int, list[int]] | None:
    """Return a turn of all parts and the growth of each in it."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    turn = math.lcm(*(own for own, _ in known))
    return turn, [grown * (turn // own) for own, grown in known]


def _sum(terms: list[Growth | None]) -> Growth | None:
    found = _alike(terms)
    return found and (found[0], sum(found[1]))


def _extremum(parts: list[Growth | None]) -> Growth | None:
    found = _alike(parts)
    return (found[0], found[1][0]) if found and len(set(found[1])) == 1 else None


def _quotient(dividend: sympy.Expr, divisor: sympy.Expr, along: Direction, modulus: int) -> Growth | None:
    """Return the growth of a quotient rounded down: even once the dividend's is a multiple of the divisor."""
    if not divisor.is_Integer:
        return _constant(common([period(dividend, along), period(divisor, along)]))
    inner = _growth(dividend, along, modulus * int(divisor))
    if inner is None:
        return None
    turn, grown = inner
    times = int(divisor) // math.gcd(grown, int(divisor))
    return turn * times, grown * times // int(divisor)
