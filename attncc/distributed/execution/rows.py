"""Rows gathered from several tensors (B, H, N, ...): views where they are evenly spaced in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from attncc.backends.slots import Slots
from attncc.ir.tables import Array

#: The dimension that rows lie along.
DIM = 2


@dataclass(frozen=True, eq=False)
class RowMapping:
    """Rows `source` of a store, which are rows `target` of what is gathered."""

    store: int
    source: Slots
    target: Slots


@dataclass(frozen=True, eq=False)
class Gather:
    """Rows of several stores, in ascending position."""

    length: int
    parts: tuple[RowMapping, ...]

    @classmethod
    def of(cls, wanted: Array, stores: Sequence[Array]) -> Gather:
        """Return where the positions `wanted` are, given those of each store; all ascend, and no two stores meet."""
        parts = []
        for number, held in enumerate(stores):
            source, target = _common(held, wanted)
            if source.length:
                parts.append(RowMapping(number, source, target))
        assert sum(part.source.length for part in parts) == len(wanted)
        return cls(len(wanted), tuple(parts))

    @property
    def is_own(self) -> bool:
        """Whether all rows are in the first store."""
        return all(part.store == 0 for part in self.parts)

    def positions(self, stores: Sequence[Array]) -> Array:
        """Return the positions of the rows in their order, given those of each store."""
        positions = np.full(self.length, -1, np.int64)
        for part in self.parts:
            positions[part.target.rows()] = stores[part.store][part.source.rows()]
        return positions

    def take(self, stores: Sequence[Tensor]) -> Tensor:
        """Return the rows, (B, H, length, ...): a view where they are evenly spaced in one store."""
        if len(self.parts) == 1:
            return self.parts[0].source.take(stores[self.parts[0].store], DIM)
        gathered = stores[0].new_empty(with_rows(stores[0].shape, self.length))
        for part in self.parts:
            part.target.put(gathered, part.source.take(stores[part.store], DIM), DIM)
        return gathered

    def add(self, stores: Sequence[Tensor], values: Tensor) -> None:
        """Add a value for each row where it was gathered from."""
        for part in self.parts:
            part.source.add(stores[part.store], part.target.take(values, DIM), DIM)


def _common(held: Array, wanted: Array) -> tuple[Slots, Slots]:
    """Return where positions that both have are in the one and in the other; both ascend."""
    if not len(held) or not len(wanted):
        return (Slots.of(held[:0]),) * 2
    first, last = map(int, np.searchsorted(wanted, [held[0], held[-1] + 1]))
    near = wanted[first:last]
    if held[-1] - held[0] + 1 == len(held):  # they follow one another
        return Slots.of(near - held[0], keep=True), Slots((last - first,), first, (1,))
    at = np.minimum(np.searchsorted(held, near), len(held) - 1)
    here = np.flatnonzero(held[at] == near)
    return Slots.of(at[here], keep=True), Slots.of(first + here, keep=True)


def with_rows(shape: Sequence[int], rows: int) -> tuple[int, ...]:
    """Return a shape (B, H, N, ...) with another number of rows N."""
    return (*shape[:DIM], rows, *shape[DIM + 1 :])
