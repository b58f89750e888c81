"""Exact counts by residues: what repeats along both axes is evaluated for one period of each, and summed up.

Each query has a range of keys. How many of them hold depends on the residues of the query and of the
range's ends alone, and on how many periods of keys fit in: running counts over one period answer for every query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import sympy

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.magnitude import LIMIT, magnitude
from attncc.ir.period import common_period
from attncc.ir.predicate import TRUE, Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.axis import chunks
from attncc.planner.layout import Layout

#: Pairs of residues that are evaluated together.
CELLS = 1 << 20
#: Slopes that are tried.
MAX_SLOPES = 8


@dataclass(frozen=True, eq=False)
class Residues:
    """A layout whose residual is the same `rows` queries on and `cols` keys on.

    Where no shorter period is shown these are the lengths of the axes. A pair counts at the residue of j + slope * i,
    not of j: what depends on i + j is the same for all queries then. `offset` is the position of query row 0.
    """

    layout: Layout
    offset: int
    rows: int
    cols: int
    slope: int = 0

    @classmethod
    def of(cls, layout: Layout, offset: int) -> Residues:
        """Return the residues that are the fewest."""
        residual = layout.residual or TRUE
        length, width = layout.rows.length, layout.cols.size
        turn = common_period(residual, frozenset([(J, 1)])) if layout.cols.kind == "identity" else None
        rows = min(common_period(residual, frozenset([(I, 1)])) or length, length)
        found = [cls(layout, offset, rows, min(turn or width, width))]
        if turn is not None and turn <= max(width, CELLS) and _fits(residual, offset + length, turn):
            for slope in _slopes(residual):
                rows = min(common_period(residual, frozenset([(I, 1), (J, -slope)])) or length, length)
                found.append(cls(layout, offset, rows, turn, slope % turn))
        return min(found, key=lambda residues: residues.cells)

    @property
    def cells(self) -> int:
        """Pairs of residues: what counting evaluates; none where the key ranges are exact."""
        return 0 if self.layout.residual is None else self.rows * self.cols

    def count(self) -> int:
        """Return the exact number of pairs of the layout."""
        if self.layout.residual is None:
            return self.layout.key_ranges.nnz
        height = max(1, CELLS // max(self.cols, 1))
        firsts = range(0, self.rows if self.cols else 0, height)
        return sum(self._counted(np.arange(first, min(first + height, self.rows))) for first in firsts)

    def _counted(self, residues: Array) -> int:
        """Count the pairs of the queries at these residues, which follow one another."""
        total, running = 0, self._running(residues)
        for slots in chunks(self.layout.rows.size):
            which = self.layout.rows.at(slots) % self.rows - residues[0]
            if len(residues) < self.rows:
                kept = (which >= 0) & (which < len(residues))
                slots, which = slots[kept], which[kept]
            shift = (self.layout.rows.at(slots) + self.offset) * self.slope % self.cols
            start, stop = self.layout.key_ranges.at(slots)
            total += int(
                (self._before(stop + shift, running, which) - self._before(start + shift, running, which)).sum()
            )
        return total

    def _running(self, residues: Array) -> Array:
        """Return how many keys of a period hold before each of its residues and its end, int32 (queries, cols + 1)."""
        query, slot = (self.offset + residues)[:, None], np.arange(self.cols)[None, :]
        key = (slot - self.slope * query) % self.cols if self.slope else self.layout.cols.at(slot)
        holds = evaluate_predicate(self.layout.residual or TRUE, {I: query, J: key})
        found = np.zeros((len(residues), self.cols + 1), np.int32)
        np.cumsum(np.broadcast_to(holds, (len(residues), self.cols)), axis=1, out=found[:, 1:])
        return found

    def _before(self, keys: Array, running: Array, which: Array) -> Array:
        """Return how many keys hold for each query from 0 to before one, negative for those below 0."""
        turns, rest = np.divmod(keys, self.cols)
        found: Array = turns * running[which, -1] + running[which, rest]
        return found


def _slopes(predicate: Predicate) -> list[int]:
    """Return slopes along which residues of sums of multiples of i and j may stay the same."""
    found = {1, -1}
    for dividend, modulus in {mod.args for atom in predicate.atoms for mod in atom.expr.atoms(sympy.Mod)}:
        factors = dividend.as_coefficients_dict()
        of_query, of_key = int(factors.get(I, 0)), int(factors.get(J, 0))
        if modulus.is_Integer and math.gcd(of_key, int(modulus)) == 1:
            found.add(of_query * pow(of_key, -1, int(modulus)) % int(modulus))
    return sorted(found, key=lambda slope: (abs(slope), slope))[:MAX_SLOPES]


def _fits(predicate: Predicate, queries: int, keys: int) -> bool:
    """Return whether positions up to these, which may be beyond an axis, can be evaluated in 64 bits."""
    return all(magnitude(atom.expr, {I: queries, J: keys}) < LIMIT for atom in predicate.atoms)
