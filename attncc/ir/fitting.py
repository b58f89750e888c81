"""Lengths that a pattern is for: a divisor that is 1 at this one and below 1, as divisors may not be, at others."""

from __future__ import annotations

import sympy


def fitting(length: sympy.Expr, tokens: int) -> sympy.Expr:
    """Return what is 1 where a length is that number of tokens, and at most 0 elsewhere."""
    return 1 - sympy.Abs(length - tokens)


def wanted(divisor: sympy.Expr) -> tuple[sympy.Symbol, int] | None:
    """Return the symbol and the number of tokens that `fitting` was given; None for any other divisor."""
    one, rest = divisor.as_coeff_Add()
    if one != 1 or not isinstance(-rest, sympy.Abs):
        return None
    tokens, length = (-rest).args[0].as_coeff_Add()
    sign, symbol = length.as_coeff_Mul()
    return (symbol, int(-sign * tokens)) if symbol.is_Symbol and abs(sign) == 1 else None
