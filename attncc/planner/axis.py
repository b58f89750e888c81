"""An axis of a layout: which positions of the sequence it holds, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.errors import ShapeError
from attncc.ir.tables import Array, Pyramid

#: Positions that arrays with an entry for each position are made for; each is 2 GiB then.
MAX_LISTED = 1 << 28


def listed(length: int) -> Array:
    """Return 0 .. length-1, int64; raises ShapeError beyond MAX_LISTED."""
    if length > MAX_LISTED:
        raise ShapeError(
            f"{length:,} positions, and the pattern needs arrays with an entry for each of them.",
            rule=f"A layout that is filtered, sorted, or whose bands don't rise with i lists at most {MAX_LISTED:,}.",
            fix="Plan for a shard of the sequence, with q_offset, or use a pattern of bands of i - j.",
        )
    return np.arange(length)


@dataclass(frozen=True, eq=False)
class Axis:
    """Slots 0 .. size-1 laid over an axis of `length` positions; `positions` is None when slot s is position s."""

    length: int
    positions: Array | None = None

    @property
    def size(self) -> int:
        """Number of slots."""
        return self.length if self.positions is None else len(self.positions)

    def at(self, slots: Array) -> Array:
        """Return the positions of `slots`, int64."""
        return slots if self.positions is None else self.positions[slots]

    @property
    def places(self) -> Array:
        """The positions of all slots, int64; not to be written to."""
        return listed(self.length) if self.positions is None else self.positions

    def span(self, first: Array, last: Array) -> tuple[Array, Array]:
        """Return bounds of the positions of slots first..last (inclusive), for many ranges; exact where they ascend."""
        if self.positions is None:
            return first, last
        if self._ascending:
            return self.positions[first], self.positions[last]
        return self._pyramid.bounds([(first, last)])

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
        if self.positions is None:
            return "identity"
        return "compacted" if self._ascending else "sorted"

    @cached_property
    def _ascending(self) -> bool:
        assert self.positions is not None
        return bool(np.all(self.positions[1:] > self.positions[:-1]))

    @cached_property
    def _pyramid(self) -> Pyramid:
        assert self.positions is not None
        return Pyramid(self.positions)
