"""Facts about integer expressions that several evaluators share."""

from __future__ import annotations

import sympy

from attncc._util import caching
from attncc.ir.claims import Sorted
from attncc.ir.quotient import FloorDiv
from attncc.ir.remainder import Mod
from attncc.ir.tables import Read


@caching.algebra(4096)
def floor_quotient(expr: sympy.floor | FloorDiv) -> tuple[sympy.Expr, sympy.Expr]:
    """Return integer expressions (numerator, denominator) with `expr == numerator // denominator`."""
    if isinstance(expr, FloorDiv):
        numerator, denominator = expr.args
        return numerator, denominator
    numerator, denominator = sympy.fraction(sympy.together(expr.args[0]))
    return sympy.expand(numerator), denominator


@caching.algebra(4096)
def whole_floors(expr: sympy.Expr) -> sympy.Expr:
    """Return an equal expression with n - n % d in place of d (n // d), which is near n: bounds of it are tighter."""
    return sympy.Add(*map(_whole_floor, sympy.Add.make_args(expr)))


def _whole_floor(term: sympy.Expr) -> sympy.Expr:
    factor, rest = term.as_coeff_Mul()
    if not isinstance(rest, sympy.floor):
        return term
    numerator, denominator = floor_quotient(rest)
    if not (denominator.is_Integer and factor % denominator == 0):
        return term
    return factor / denominator * numerator - factor / denominator * Mod(numerator, denominator)


@caching.algebra(4096)
def direction(expr: sympy.Expr, symbol: sympy.Symbol) -> int | None:
    """Return +1 or -1 if `expr` is shown to be nondecreasing or nonincreasing in `symbol`, 0 if free of it.

    None means that nothing was shown.
    """
    if symbol not in expr.free_symbols:
        return 0
    match expr:
        case sympy.Symbol():
            return 1
        case sympy.Add() | sympy.Min() | sympy.Max():
            return _agree([direction(arg, symbol) for arg in expr.args])
        case sympy.Mul() if expr.args[0].is_Integer:
            rest = direction(sympy.Mul(*expr.args[1:]), symbol)
            return None if rest is None else rest * (1 if expr.args[0] > 0 else -1)
        case sympy.floor():
            numerator, denominator = floor_quotient(expr)
            return direction(numerator, symbol) if denominator.is_Integer else None
        case Read() if Sorted() in expr.table.kept_claims and len(expr.args) == 2:
            return direction(expr.args[1], symbol)  # also where the look-up is clipped to the table
    return None


def _agree(directions: list[int | None]) -> int | None:
    if None in directions or (1 in directions and -1 in directions):
        return None
    return next((d for d in directions if d), 0)


def split_sum(expr: sympy.Expr, left: sympy.Symbol, right: sympy.Symbol) -> tuple[sympy.Expr, sympy.Expr] | None:
    """Return (f, g) with `expr == f + g`, f free of `right` and g free of `left`, or None if there is no such sum.

    Constants go to f.
    """
    f: list[sympy.Expr] = []
    g: list[sympy.Expr] = []
    for term in sympy.Add.make_args(expr):
        symbols = term.free_symbols
        if left in symbols and right in symbols:
            return None
        (g if right in symbols else f).append(term)
    return sympy.Add(*f), sympy.Add(*g)
