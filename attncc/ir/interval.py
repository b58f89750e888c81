"""Interval evaluation: sound bounds of an expression, and a three-valued answer of a predicate, over boxes.

A box gives each symbol an inclusive range (low, high) of integers; ranges are numpy arrays, so that one call
answers for many boxes. Arrays of Python integers (dtype object) make the arithmetic unbounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import sympy

from attncc.ir import bits, lists
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.bits import Bitwise, LeftShift, RightShift
from attncc.ir.lists import IsMember
from attncc.ir.predicate import And, Atom, Connective, Constant, Predicate
from attncc.ir.quotient import FloorDiv
from attncc.ir.symbols import MAX_POSITION
from attncc.ir.tables import Array, Read

Range = tuple[Array, Array]
Box = Mapping[sympy.Symbol, Range]

#: Three-valued answers; chosen so that `and` is minimum and `or` is maximum.
NEVER, SOMETIMES, ALWAYS = 0, 1, 2


def bounds(expr: sympy.Expr, box: Box) -> Range:
    """Return (low, high) with low <= expr <= high for all integers in each box."""
    match expr:
        case sympy.Integer():
            value = _like(int(expr), box)
            return value, value
        case sympy.Symbol():
            return box[expr]
        case sympy.Add():
            parts = [bounds(arg, box) for arg in expr.args]
            return reduce(np.add, [p[0] for p in parts]), reduce(np.add, [p[1] for p in parts])
        case sympy.Mul():
            product = bounds(expr.args[0], box)
            for arg in expr.args[1:]:
                product = _multiply(product, bounds(arg, box))
            return product
        case sympy.Pow():
            return _power(bounds(expr.base, box), int(expr.exp))
        case sympy.Mod():
            return _modulo(bounds(expr.args[0], box), bounds(expr.args[1], box))
        case sympy.floor() | FloorDiv():
            numerator, denominator = floor_quotient(expr)
            (low, high), (small, large) = bounds(numerator, box), bounds(denominator, box)
            corners = [x // np.maximum(d, 1) for x in (low, high) for d in (small, large)]
            return _hull(corners)
        case sympy.Min() | sympy.Max():
            combine = np.minimum if isinstance(expr, sympy.Min) else np.maximum
            parts = [bounds(arg, box) for arg in expr.args]
            return combine.reduce([p[0] for p in parts]), combine.reduce([p[1] for p in parts])
        case sympy.Abs():
            low, high = bounds(expr.args[0], box)
            return np.maximum(np.maximum(low, -high), 0), np.maximum(-low, high)
        case Bitwise():
            return bits.bounds(expr, [bounds(arg, box) for arg in expr.args])
        case LeftShift():
            return bits.left_shifted(*(bounds(arg, box) for arg in expr.args))
        case RightShift():
            return bits.right_shifted(*(bounds(arg, box) for arg in expr.args))
        case IsMember():
            *row, number = (bounds(arg, box) for arg in expr.args[1:])
            return lists.bounds(expr.table, row, number)
        case Read():
            return expr.table.pyramid.bounds([bounds(index, box) for index in expr.indices])
    raise TypeError(f"no interval rule for {type(expr).__name__}")


def verdict(predicate: Predicate, box: Box) -> Array:
    """Return NEVER, SOMETIMES or ALWAYS (int8) for each box; NEVER and ALWAYS are proofs."""
    return _verdict(predicate, box, dict.fromkeys(predicate.shared))


def _verdict(predicate: Predicate, box: Box, kept: dict[Predicate, Array | None]) -> Array:
    """Answer for a predicate; `kept` has the answer, once there is one, for each part that occurs again."""
    match predicate:
        case Constant():
            return _like(ALWAYS if predicate.value else NEVER, box).astype(np.int8)
        case Atom():
            return _atom_verdict(predicate, box)
        case Connective():
            if (known := kept.get(predicate)) is not None:
                return known
            combine = np.minimum if isinstance(predicate, And) else np.maximum
            combined: Array = reduce(combine, (_verdict(arg, box, kept) for arg in predicate.args))
            if predicate in kept:
                kept[predicate] = combined
            return combined
    raise TypeError(f"no interval rule for {type(predicate).__name__}")


def natural_bounds(expr: sympy.Expr) -> tuple[int, int]:
    """Return bounds of `expr` over all positions below MAX_POSITION in size, exactly (Python integers)."""
    most = exactly(MAX_POSITION - 1)
    least = {symbol: exactly(0) if symbol.is_nonnegative else -most for symbol in expr.free_symbols}
    low, high = bounds(expr, {symbol: (low, most) for symbol, low in least.items()} or {sympy.Dummy(): (most, most)})
    return int(low[0]), int(high[0])


def exactly(value: int) -> Array:
    """Return a bound for one box whose arithmetic is unbounded: an array of one Python integer, never a scalar."""
    return np.array([value], dtype=object)


def exact_box(limits: Mapping[sympy.Symbol, tuple[int, int]]) -> dict[sympy.Symbol, Range]:
    """Return the box of symbols between these limits, whose arithmetic is unbounded."""
    return {symbol: (exactly(low), exactly(high)) for symbol, (low, high) in limits.items()}


def shown(relation: str, low: Any, high: Any) -> tuple[Any, Any]:
    """Return where a comparison with 0 holds always, and where never, for bounds that are arrays or tensors."""
    if relation == "ge":
        return low >= 0, high < 0
    equal, unequal = (low == 0) & (high == 0), (low > 0) | (high < 0)
    return (equal, unequal) if relation == "eq" else (unequal, equal)


def _atom_verdict(atom: Atom, box: Box) -> Array:
    always, never = shown(atom.relation, *bounds(atom.expr, box))
    return np.where(always, ALWAYS, np.where(never, NEVER, SOMETIMES)).astype(np.int8)


def _like(value: int, box: Box) -> Array:
    first = next(iter(box.values()))[0]
    return np.full(np.shape(first), value, dtype=first.dtype)


def _hull(corners: list[Array]) -> Range:
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _multiply(a: Range, b: Range) -> Range:
    return _hull([x * y for x in a for y in b])


def _power(base: Range, exponent: int) -> Range:
    low, high = base
    corners = [low**exponent, high**exponent]
    least, most = _hull(corners)
    if exponent % 2 == 0:
        least = np.where((low <= 0) & (high >= 0), 0, least)
    return least, most


def _modulo(value: Range, modulus: Range) -> Range:
    low, high = value
    small, large = (np.maximum(end, 1) for end in modulus)
    same_class = (small == large) & (low // small == high // small)
    return np.where(same_class, low % small, 0), np.where(same_class, high % small, large - 1)
