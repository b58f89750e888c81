"""Sides: comparisons that are sums of a part in i and one in j, whose values along the axes of a layout are known.

Bounds of positions say little of their digits: in a box of 8 x 8 tokens of an image, positions lie in eight rows.
Bounds of the values of each side are exact, whatever the order and the expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy

from attncc.ir.arithmetic import split_sum
from attncc.ir.evaluate import evaluate
from attncc.ir.interval import Box
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.pyramid import Pyramid
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.axis import Axis

#: The symbol that stands for a side, and the bounds of its values along an axis.
Values = dict[sympy.Symbol, Pyramid]


@dataclass(frozen=True, eq=False)
class Sides:
    """A residual with a symbol in place of each side of its sums, and the values that these have.

    Attributes:
        predicate: The residual, in these symbols; in i and j where a comparison isn't such a sum.
        rows, cols: The values along the query slots and the key slots.
    """

    predicate: Predicate
    rows: Values
    cols: Values

    @classmethod
    def of(cls, residual: Predicate, rows: Axis, cols: Axis, offset: int) -> Sides:
        """Return the sides of a residual; `offset` is the position of query row 0."""
        stands_for: dict[sympy.Expr, sympy.Symbol] = {}

        def split(atom: Atom) -> Predicate:
            parts = split_sum(atom.expr, I, J)
            if parts is None:
                return atom
            f, g = (stands_for.setdefault(part, sympy.Dummy(integer=True)) for part in parts)
            return Atom(atom.relation, f + g)

        predicate = residual.map(split)
        values: tuple[Values, Values] = {}, {}
        for expr, symbol in stands_for.items():
            by_key = J in expr.free_symbols
            places = {J: cols.places} if by_key else {I: rows.places + offset}
            size = (cols if by_key else rows).size
            found = np.broadcast_to(np.asarray(evaluate(expr, places), np.int64), size)
            values[by_key][symbol] = Pyramid(_narrowed(found))
        return cls(predicate, *values)

    @cached_property
    def depends_on_positions(self) -> bool:
        """Whether some comparison isn't such a sum."""
        return bool({I, J} & self.predicate.free)

    def box(self, rows: Array, row_bits: int, cols: Array, col_bits: int) -> Box:
        """Return the bounds of the sides over 2^bits query slots and key slots, from each of `rows` and `cols`."""
        found = {symbol: values.aligned(rows, row_bits) for symbol, values in self.rows.items()}
        found |= {symbol: values.aligned(cols, col_bits) for symbol, values in self.cols.items()}
        return {symbol: (low.astype(np.int64), high.astype(np.int64)) for symbol, (low, high) in found.items()}


def _narrowed(values: Array) -> Array:
    """Return values in 32 bits where they fit, since a plan keeps them."""
    fits = not values.size or max(-int(values.min()), int(values.max())) < 1 << 31
    return values.astype(np.int32) if fits else values
