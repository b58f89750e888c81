"""Lifting: numbers in the residual of a batch entry become a kernel's arguments.

A sequence's offset and its number of keys stand in its predicate as numbers, which differ at each step of decoding.
Printed into kernels, each step would compile new ones.
"""

from __future__ import annotations

import numpy as np
import sympy

from attncc.ir.arithmetic import floor_quotient
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.quotient import FloorDiv, quotient
from attncc.ir.tables import Array

#: Added numbers below it in size are those of a pattern, such as a width; larger ones may be a sequence's.
LEAST = 16
#: Numbers are below it in size: arrays of kernels are int32.
MOST = 1 << 31


def lifted(residual: Predicate) -> tuple[Predicate, tuple[str, ...], Array]:
    """Return a residual with a symbol for each number that may be a sequence's, their names, and the numbers."""
    drawn: dict[int, sympy.Symbol] = {}
    for atom in residual.atoms:
        _lifted(atom.expr, drawn)
    symbols: dict[int, sympy.Symbol] = {}
    for number in sorted(drawn):  # an order that doesn't depend on how they are met
        _symbol(number, symbols)
    found = residual.map(lambda atom: Atom(atom.relation, _lifted(atom.expr, symbols)))
    return found, tuple(symbol.name for symbol in symbols.values()), np.array([*symbols], np.int32)


def _lifted(expr: sympy.Expr, symbols: dict[int, sympy.Symbol], least: int = LEAST) -> sympy.Expr:
    if isinstance(expr, sympy.floor):
        dividend, divisor = floor_quotient(expr)
        return quotient(_lifted(dividend, symbols, 1), _lifted(divisor, symbols))
    if isinstance(expr, sympy.Mod | FloorDiv):  # of an offset they leave what is small
        dividend, divisor = expr.args
        return expr.func(_lifted(dividend, symbols, 1), _lifted(divisor, symbols))
    if expr.is_Atom:
        return expr
    args = [_lifted(arg, symbols, least) for arg in expr.args]
    if expr.is_Add:
        args = [_symbol(int(arg), symbols) if arg.is_Integer and least <= abs(arg) < MOST else arg for arg in args]
    return expr.func(*args)


def _symbol(number: int, symbols: dict[int, sympy.Symbol]) -> sympy.Symbol:
    """Return what stands for a number, with its sign, which tells how to divide."""
    name = f"number_{len(symbols)}"
    sign = {"nonnegative": True} if number >= 0 else {"negative": True}
    return symbols.setdefault(number, sympy.Symbol(name, integer=True, **sign))
