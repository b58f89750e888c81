"""Cycles: positions sorted by classes that repeat along the axis, in closed form, from one period of them.

Keys such as x % m are the same a period on, and so are filters of them. Sizes of classes, the position in a slot
and the slot of a position are then arithmetic: nothing is sorted or listed but the residues of one period.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.order import order_by


@dataclass(frozen=True, eq=False)
class Cycle:
    """Positions 0 <= x < length with x mod period among `residues`, by class, ascending inside each class.

    Attributes:
        residues: Those of class 0, of class 1 and so on, ascending in each, int64.
        opens: Where the residues of each class begin, and the end, int64 (classes + 1,).
    """

    length: int
    period: int
    residues: Array
    opens: Array

    @classmethod
    def of(cls, length: int, period: int, residues: Array, number: Array, classes: int) -> Cycle:
        """Return the cycle of ascending residues, given the class of each."""
        opens = np.append(0, np.cumsum(np.bincount(number, minlength=classes)))
        return cls(length, period, residues[order_by(number)], opens)

    @cached_property
    def starts(self) -> Array:
        """Slot at which each class begins, and the number of slots, int64 (classes + 1,)."""
        turns, rest = divmod(self.length, self.period)
        cut = np.append(0, np.cumsum(self.residues < rest))[self.opens]
        found: Array = turns * self.opens + cut
        return found

    @property
    def size(self) -> int:
        """Number of slots."""
        return int(self.starts[-1])

    def class_at(self, slots: Array) -> Array:
        """Return the class of each slot; where there is one class, a single 0 for all of them."""
        if len(self.starts) == 2:
            return np.zeros((), np.int64)
        return np.searchsorted(self.starts, slots, side="right") - 1

    def at(self, slots: Array) -> Array:
        """Return the position in each slot, int64."""
        return self.within(self.class_at(slots), slots)

    def within(self, number: Array, slots: Array) -> Array:
        """Return the position in each slot, whose class is known."""
        opens = self.opens[number]
        turn, rest = np.divmod(slots - self.starts[number], self.opens[number + 1] - opens)
        turn *= self.period
        turn += self.residues[opens + rest]
        return turn

    def slot(self, number: Array, position: Array) -> Array:
        """Return the first slot of each class whose position is at least `position`, else the end of the class."""
        turn, rest = np.divmod(np.clip(position, 0, self.length), self.period)
        opens = self.opens[number]
        before = np.searchsorted(self._ranked, number * self.period + rest)
        found: Array = self.starts[number] + turn * (self.opens[number + 1] - opens) + before - opens
        return found

    @cached_property
    def ascends(self) -> bool:
        """Whether the positions ascend through all slots."""
        filled = np.flatnonzero(np.diff(self.starts))
        first = self.within(filled, self.starts[filled])
        last = self.within(filled, self.starts[filled + 1] - 1)
        return bool(np.all(first[1:] > last[:-1]))

    def bounds(self, block: int) -> tuple[Array, Array]:
        """Return the least and the greatest position in each block of so many slots, int64."""
        slots = np.arange(0, self.size, block)
        filled = np.flatnonzero(np.diff(self.starts))
        begins = np.union1d(slots, self.starts[filled])
        ends = np.append(begins[1:], self.size) - 1
        number = self.class_at(begins)
        first = np.searchsorted(begins, slots)
        low = np.minimum.reduceat(self.within(number, begins), first)
        return low, np.maximum.reduceat(self.within(number, ends), first)

    @cached_property
    def _ranked(self) -> Array:
        """(class, residue) of each residue as one number, ascending."""
        number = np.repeat(np.arange(len(self.opens) - 1), np.diff(self.opens))
        return number * self.period + self.residues
