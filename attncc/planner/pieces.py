"""Pieces: functions of positions that are affine between breakpoints, as limits of bands are that look tables up.

The ids of a million tokens in a thousand documents are a thousand pieces: planning takes as long as there are these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy

from attncc.ir.evaluate import evaluate
from attncc.ir.tables import Array, Read


@dataclass(frozen=True, eq=False)
class Pieces:
    """From position first[p] up to the next piece, the value is base[p] + slope[p] * (position - first[p]).

    Positions are 0 .. length-1; arrays are int64 (pieces,), and the first piece begins at 0.
    """

    length: int
    first: Array
    base: Array
    slope: Array

    @classmethod
    def constant(cls, length: int, value: int) -> Pieces:
        """Return the function that has one value everywhere."""
        return cls(length, np.zeros(1, np.int64), np.full(1, value, np.int64), np.zeros(1, np.int64))

    def at(self, positions: Array) -> Array:
        """Return the values at positions, int64."""
        piece = np.searchsorted(self.first, positions, side="right") - 1
        found: Array = self.base[piece] + self.slope[piece] * (positions - self.first[piece])
        return found

    @property
    def last(self) -> Array:
        """The last position of each piece."""
        return np.append(self.first[1:], self.length) - 1

    @property
    def ends(self) -> Array:
        """The value at the last position of each piece."""
        found: Array = self.base + self.slope * (self.last - self.first)
        return found

    @property
    def rises(self) -> bool:
        """Whether the function is nondecreasing."""
        ends = self.ends
        return bool(np.all(ends >= self.base) and np.all(self.base[1:] >= ends[:-1]))

    def cut(self, first: Array) -> Pieces:
        """Return the same function with further breakpoints, ascending, among which its own are."""
        piece = np.searchsorted(self.first, first, side="right") - 1
        slope = self.slope[piece]
        return Pieces(self.length, first, self.base[piece] + slope * (first - self.first[piece]), slope)

    def mapped(self, function: Callable[[Array], Array]) -> Pieces | None:
        """Return a function of the values; None unless these are constant between breakpoints."""
        return None if self.slope.any() else Pieces(self.length, self.first, function(self.base), self.slope)

    def larger(self, other: Pieces) -> Pieces:
        """Return the larger of two functions of equal length."""
        a, b = together(self, other)
        begins, ends = a.base - b.base, a.ends - b.ends
        crosses = begins * ends < 0
        if crosses.any():
            steps = -(-abs(begins[crosses]) // abs(a.slope - b.slope)[crosses])
            first = _merged(a.first, a.first[crosses] + steps)
            a, b = a.cut(first), b.cut(first)
            begins, ends = a.base - b.base, a.ends - b.ends
        mine = (begins > 0) | ((begins == 0) & (ends >= 0))
        return Pieces(a.length, a.first, np.where(mine, a.base, b.base), np.where(mine, a.slope, b.slope))

    def smaller(self, other: Pieces) -> Pieces:
        """Return the smaller of two functions of equal length."""
        return -((-self).larger(-other))

    def __neg__(self) -> Pieces:
        return Pieces(self.length, self.first, -self.base, -self.slope)


def together(a: Pieces, b: Pieces) -> tuple[Pieces, Pieces]:
    """Return two functions with the breakpoints of both."""
    if len(a.first) == len(b.first) and np.array_equal(a.first, b.first):
        return a, b
    first = _merged(a.first, b.first)
    return a.cut(first), b.cut(first)


def _merged(first: Array, other: Array) -> Array:
    """Return the breakpoints of two functions; a function of one piece has none but 0."""
    if len(other) == 1 and not other[0]:
        return first
    return other if len(first) == 1 and not other[0] else np.union1d(first, other)


def pieces_of(expr: sympy.Expr, symbol: sympy.Symbol, length: int, offset: int = 0) -> Pieces | None:
    """Return an expression in one symbol, at offset + x, as a function of x in 0 .. length - 1.

    None unless it is made of the symbol and of tables that are looked up by the symbol alone, in few pieces, and is a
    sum of multiples where these aren't constant.
    """
    reads = expr.atoms(Read)
    if any(read.indices != (symbol,) or len(read.table.data) < offset + length or offset < 0 for read in reads):
        return None
    first = np.zeros(1, np.int64)
    for read in reads:
        runs = read.table.runs
        if runs is None:
            return None
        begins = runs.first - offset
        first = _merged(first, np.append(0, begins[(begins > 0) & (begins < length)]))
    slope = 0
    for term in sympy.Add.make_args(expr):
        grows = _slope(term, symbol)
        if grows is None:
            return None
        slope += grows
    base = np.broadcast_to(np.asarray(evaluate(expr, {symbol: first + offset}), np.int64), first.shape)
    return Pieces(length, first, base, np.full(len(first), slope, np.int64))


def _slope(term: sympy.Expr, symbol: sympy.Symbol) -> int | None:
    """Return how much a term grows at each step inside a piece; None where that isn't known."""
    factor, variable = term.as_coeff_Mul()
    if variable == symbol:
        return int(factor)
    if isinstance(variable, Read):
        return int(factor) * _slope_of(variable)
    reads = variable.atoms(Read)
    outside = variable.xreplace(dict.fromkeys(reads, sympy.S.Zero))
    return None if symbol in outside.free_symbols or any(map(_slope_of, reads)) else 0


def _slope_of(read: Read) -> int:
    runs = read.table.runs
    assert runs is not None
    return runs.slope
