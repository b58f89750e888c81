"""How large the intermediate results of an expression can become: all arithmetic on positions is in 64 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import sympy

from attncc.ir.arithmetic import floor_quotient
from attncc.ir.bits import MAX_SHIFT, Bitwise, LeftShift
from attncc.ir.interval import bounds, exactly
from attncc.ir.lists import IsMember
from attncc.ir.quotient import FloorDiv
from attncc.ir.tables import Read

#: Intermediate results stay below this bound, so that int64 neither wraps nor hides it.
LIMIT = 1 << 63


def magnitude(expr: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> int:
    """Return a bound on |x| for every intermediate result x of `expr`, given the largest |value| of each symbol.

    Terms are added up by absolute value, so that the order of evaluation doesn't matter.
    """
    return _reached(expr, largest)[1]


def _reached(expr: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> tuple[int, int]:
    """Return bounds on |x| for the result, and for every intermediate one, which isn't less.

    So 8 ((i + t[b]) // 8) is bounded by what i + t[b] is, rounded up.
    """
    if isinstance(expr, sympy.floor | FloorDiv):
        return _quotient(*floor_quotient(expr), largest)
    args = expr.args[1:] if isinstance(expr, Read | IsMember) else expr.args
    values, within = zip(*(_reached(arg, largest) for arg in args), strict=True) if args else ((), ())
    match expr:
        case sympy.Integer():
            value = abs(int(expr))
        case sympy.Symbol():
            value = largest[expr]
        case sympy.Mul():
            value = math.prod(max(1, factor) for factor in values)
        case sympy.Pow():
            value = int(max(1, values[0]) ** int(expr.exp))
        case sympy.Mod():
            value = values[1]
        case Bitwise():
            value = 1 << max(values).bit_length()
        case LeftShift():
            value = values[0] << _most(expr.args[1], largest)
        case IsMember():
            value = 1
        case Read():
            value = expr.table.largest
        case sympy.Add():
            value = sum(values)
        case _:
            value = max(values)
    return value, max(value, *within) if within else value


def _quotient(numerator: sympy.Expr, denominator: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> tuple[int, int]:
    (value, within), (_, divisor) = _reached(numerator, largest), _reached(denominator, largest)
    least = int(denominator) if denominator.is_Integer else 1
    return -(-value // max(least, 1)), max(within, divisor)


def _most(by: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> int:
    """Return the most bits that something is shifted by."""
    high = int(bounds(by, {symbol: (exactly(-most), exactly(most)) for symbol, most in largest.items()})[1][0])
    return min(max(high, 0), MAX_SHIFT)
