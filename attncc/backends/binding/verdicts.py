"""Verdicts: what a residual is shown to be in each tile, from the least and greatest values of its parts.

A part without j, or without i, is evaluated at all positions, and bounded tile by tile: exactly, whatever it looks up.
Sums, differences, multiples, quotients and remainders of these are bounded by interval arithmetic, look-ups by i and j
by the entries in a box; all else isn't.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import sympy
import torch
from torch import Tensor

from attncc.backends.binding.boxes import box_bounds, matrix_of
from attncc.backends.binding.layouts import BoundLayout
from attncc.backends.binding.values import Positions
from attncc.backends.binding.work_lists import by_tile
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.interval import ALWAYS, NEVER, SOMETIMES, shown
from attncc.ir.predicate import And, Atom, Connective, Constant, Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read

#: Bounds of what isn't bounded; sums of a few of them fit 64 bits.
_ANYTHING = 1 << 62

#: Least and greatest values, (G, T, 1), (G, 1, K) or (G, T, K).
TileBounds = tuple[Tensor, Tensor]


def tile_verdicts(
    predicate: Predicate, layout: BoundLayout, positions: Positions, block_m: int, block_n: int
) -> Tensor:
    """Return NEVER, SOMETIMES or ALWAYS, int8 (G, T, K), for each query tile and key tile of a layout."""
    return _Verdicts(layout, positions, block_m, block_n).of(predicate)


class _Verdicts:
    def __init__(self, layout: BoundLayout, positions: Positions, block_m: int, block_n: int) -> None:
        self.positions, self.layout = positions, layout
        self.blocks = {I: block_m, J: block_n}

    def of(self, predicate: Predicate) -> Tensor:
        match predicate:
            case Atom():
                return self._of_atom(predicate)
            case Constant():
                tiles = [-(-self.positions.count(symbol) // self.blocks[symbol]) for symbol in (I, J)]
                size, value = (self.positions.members, *tiles), ALWAYS if predicate.value else NEVER
                return torch.full(size, value, dtype=torch.int8, device=self.positions.device)
            case Connective():
                combine = torch.minimum if isinstance(predicate, And) else torch.maximum
                found: Tensor = reduce(combine, map(self.of, predicate.args))
                return found
        raise TypeError(f"no verdict for {type(predicate).__name__}")

    def _of_atom(self, atom: Atom) -> Tensor:
        found = self._bounds(atom.expr)
        if found is None:
            return self.of(Constant(True)).clamp(max=SOMETIMES)
        always, never = shown(atom.relation, *found)
        verdict: Tensor = SOMETIMES + always.to(torch.int8) - never.to(torch.int8)
        return verdict.to(torch.int8)

    def _bounds(self, expr: sympy.Expr) -> TileBounds | None:
        """Return bounds of an expression in all tiles; None where nothing is shown."""
        symbols = expr.free_symbols
        if J not in symbols:
            return self._of_axis(expr, I)
        if I not in symbols:
            return self._of_axis(expr, J)
        match expr:
            case sympy.Add():
                mixed = [arg for arg in expr.args if {I, J} <= arg.free_symbols]
                rows = [arg for arg in expr.args if arg not in mixed and J not in arg.free_symbols]
                cols = [arg for arg in expr.args if arg not in mixed and arg not in rows]
                sums = [sympy.Add(*some) for some in (rows, cols) if some]
                return _combined(_added, [self._bounds(arg) for arg in (*sums, *mixed)])
            case sympy.Mul() if expr.args[0].is_Integer:
                factor = int(expr.args[0])
                inner = self._bounds(sympy.Mul(*expr.args[1:]))
                return None if inner is None else _scaled(inner, factor)
            case sympy.Abs():
                return _mapped(_absolute, self._bounds(expr.args[0]))
            case sympy.Min() | sympy.Max():
                extremum = torch.minimum if isinstance(expr, sympy.Min) else torch.maximum
                parts = [self._bounds(arg) for arg in expr.args]
                return _combined(lambda a, b: (extremum(a[0], b[0]), extremum(a[1], b[1])), parts)
            case sympy.floor():
                numerator, denominator = floor_quotient(expr)
                by = int(denominator) if denominator.is_Integer else 0
                return _mapped(lambda x: (x[0] // by, x[1] // by), self._bounds(numerator)) if by > 0 else None
            case sympy.Mod() if expr.args[1].is_Integer:
                by = int(expr.args[1])
                return _mapped(lambda x: _remainder(x, by), self._bounds(expr.args[0]))
            case Read():
                return self._of_look_up(expr)
        return None

    def _of_look_up(self, read: Read) -> TileBounds | None:
        found = matrix_of(read, self.positions)
        if found is None:
            return None
        matrix, row, column = found
        if J in row.free_symbols:
            matrix, row, column = matrix.transpose(1, 2), column, row
        rows, cols = self._of_axis(row, I), self._of_axis(column, J)
        return box_bounds(matrix, (rows[0][..., 0], rows[1][..., 0]), (cols[0][:, 0], cols[1][:, 0]))

    def _of_axis(self, expr: sympy.Expr, symbol: sympy.Symbol) -> TileBounds:
        values = self.positions.at(symbol, expr)
        order = self.layout.rows if symbol == I else self.layout.cols
        values = values if order is None else values.gather(-1, order)
        block = self.blocks[symbol]
        low = by_tile(values, block, _ANYTHING).amin(-1)
        high = by_tile(values, block, -_ANYTHING).amax(-1)
        axis = 2 if symbol == I else 1
        return low.unsqueeze(axis), high.unsqueeze(axis)


def _mapped(function: Callable[[TileBounds], TileBounds], bounds: TileBounds | None) -> TileBounds | None:
    return None if bounds is None else function(bounds)


def _combined(
    combine: Callable[[TileBounds, TileBounds], TileBounds], parts: list[TileBounds | None]
) -> TileBounds | None:
    known = [part for part in parts if part is not None]
    return reduce(combine, known) if len(known) == len(parts) else None


def _added(a: TileBounds, b: TileBounds) -> TileBounds:
    return a[0] + b[0], a[1] + b[1]


def _scaled(bounds: TileBounds, factor: int) -> TileBounds:
    low, high = bounds[0] * factor, bounds[1] * factor
    return (low, high) if factor > 0 else (high, low)


def _absolute(bounds: TileBounds) -> TileBounds:
    low, high = bounds
    return torch.maximum(low, -high).clamp(min=0), torch.maximum(-low, high)


def _remainder(bounds: TileBounds, by: int) -> TileBounds:
    low, high = bounds
    same = low // by == high // by
    return torch.where(same, low % by, 0), torch.where(same, high % by, by - 1)
