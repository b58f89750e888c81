"""An axis of a layout: which positions of the sequence it holds, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.errors import ShapeError
from attncc.ir.pyramid import Array, Pyramid
from attncc.planner.cycle import Cycle

#: Positions that arrays with an entry for each position are made for; each is 2 GiB then.
MAX_LISTED = 1 << 28
#: Slots whose positions are bounded together at most; blocks of a layout are rarely larger.
MAX_BLOCK = 128
#: Entries that are computed together where all are needed: they stay in the cache.
CHUNK = 1 << 15


def listed(length: int) -> Array:
    """Return 0 .. length-1, int64; raises ShapeError beyond MAX_LISTED."""
    return np.arange(listable(length))


def listable(length: int) -> int:
    """Return a length that arrays may have; raises ShapeError beyond MAX_LISTED."""
    if length > MAX_LISTED:
        raise ShapeError(
            f"{length:,} positions, and the pattern needs arrays with an entry for each of them.",
            rule=f"A layout that is filtered, sorted, or whose bands don't rise with i lists at most {MAX_LISTED:,}.",
            fix="Plan for a shard of the sequence, with q_offset, or use a pattern of bands of i - j.",
        )
    return length


def chunks(length: int, size: int = CHUNK) -> Iterator[Array]:
    """Yield 0 .. length-1, int64, in parts of `size`."""
    for first in range(0, length, size):
        yield np.arange(first, min(first + size, length))


@dataclass(frozen=True, eq=False)
class Axis:
    """Slots 0 .. size-1 laid over an axis of `length` positions.

    `order` is None where slot s is position s, else the position of each slot: listed, int64, or by a cycle, which
    lists them when they are asked for.
    """

    length: int
    order: Array | Cycle | None = None

    @classmethod
    def of(cls, cycle: Cycle) -> Axis:
        """Return the axis in the order of a cycle; the identity where that moves and drops nothing."""
        unmoved = cycle.size == cycle.length and cycle.ascends
        return cls(cycle.length, None if unmoved else cycle)

    @property
    def size(self) -> int:
        """Number of slots."""
        match self.order:
            case None:
                return self.length
            case Cycle():
                return self.order.size
        return len(self.order)

    @cached_property
    def positions(self) -> Array | None:
        """The positions of all slots, int64; None when slot s is position s."""
        if not isinstance(self.order, Cycle):
            return self.order
        found = np.empty(listable(self.size), np.int64)
        for slots in chunks(self.size):
            found[slots[0] : slots[-1] + 1] = self.order.at(slots)
        return found

    def at(self, slots: Array) -> Array:
        """Return the positions of `slots`, int64."""
        if isinstance(self.order, Cycle) and "positions" not in self.__dict__:
            return self.order.at(slots)
        return slots if self.positions is None else self.positions[slots]

    @property
    def places(self) -> Array:
        """The positions of all slots, int64; not to be written to."""
        return listed(self.length) if self.positions is None else self.positions

    def span(self, first: Array, last: Array) -> tuple[Array, Array]:
        """Return bounds of the positions of slots first..last (inclusive), for many ranges; exact where they ascend."""
        if self.order is None:
            return first, last
        if self._ascending:
            return self.at(first), self.at(last)
        block = _common_block(first, last, self.size)
        return self._pyramid(block).bounds([(first // block, last // block)])

    def select(self, kept: Array) -> Axis:
        """Return the axis with only the slots in `kept`, in that order."""
        return Axis(self.length, self.at(kept))

    def reordered(self, order: Array) -> Axis:
        """Return the axis with slot s holding what `order[s]` held; keeps the identity where nothing moves."""
        unmoved = len(order) == self.size and bool(np.all(order[1:] > order[:-1]))
        return self if unmoved else self.select(order)

    @property
    def kind(self) -> str:
        """`identity`, `compacted` (some positions left out) or `sorted` (positions moved)."""
        if self.order is None:
            return "identity"
        return "compacted" if self._ascending else "sorted"

    @cached_property
    def _ascending(self) -> bool:
        if isinstance(self.order, Cycle):
            return self.order.ascends
        assert self.order is not None
        return bool(np.all(self.order[1:] > self.order[:-1]))

    def _pyramid(self, block: int) -> Pyramid:
        """Bounds of the positions of aligned blocks of slots."""
        if block not in self._pyramids:
            self._pyramids[block] = Pyramid(*self._bounds(block))
        return self._pyramids[block]

    @cached_property
    def _pyramids(self) -> dict[int, Pyramid]:
        return {}

    def _bounds(self, block: int) -> tuple[Array, Array]:
        if isinstance(self.order, Cycle):
            return self.order.bounds(block)
        assert self.order is not None
        first = np.arange(0, self.size, block)
        return np.minimum.reduceat(self.order, first), np.maximum.reduceat(self.order, first)


def _common_block(first: Array, last: Array, size: int) -> int:
    """Return the largest power of two up to MAX_BLOCK such that all ranges first..last are aligned to it."""
    ends = last[last != size - 1] + 1
    bits = MAX_BLOCK | int(np.bitwise_or.reduce(first, initial=0)) | int(np.bitwise_or.reduce(ends, initial=0))
    return bits & -bits
