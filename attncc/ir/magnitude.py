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
    match expr:
        case sympy.Integer():
            return abs(int(expr))
        case sympy.Symbol():
            return largest[expr]
        case sympy.Mul():
            return math.prod(max(1, magnitude(arg, largest)) for arg in expr.args)
        case sympy.Pow():
            base = max(1, magnitude(expr.base, largest))
            return int(base ** int(expr.exp))
        case sympy.floor() | FloorDiv():
            numerator, denominator = floor_quotient(expr)
            return max(magnitude(numerator, largest), magnitude(denominator, largest))
        case Bitwise():
            return 1 << max(magnitude(arg, largest) for arg in expr.args).bit_length()
        case LeftShift():
            number, by = expr.args
            return max(magnitude(number, largest) << _most(by, largest), magnitude(by, largest))
        case IsMember():
            return max(1, *(magnitude(arg, largest) for arg in expr.args[1:]))
        case Read():
            entries: int = expr.table.largest
            return max([entries, *(magnitude(index, largest) for index in expr.indices)])
        case sympy.Add():
            return sum(magnitude(arg, largest) for arg in expr.args)
    return max(magnitude(arg, largest) for arg in expr.args)


def _most(by: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> int:
    """Return the most bits that something is shifted by."""
    high = int(bounds(by, {symbol: (exactly(-most), exactly(most)) for symbol, most in largest.items()})[1][0])
    return min(max(high, 0), MAX_SHIFT)
