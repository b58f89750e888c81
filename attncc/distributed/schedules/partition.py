"""Partitions: a sequence cut into units, and which rank owns each unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.axis import Axis


@dataclass(frozen=True, eq=False)
class Chunking:
    """A sequence of tokens cut into units of `size`, the last one shorter, in the order of `axis`."""

    axis: Axis
    size: int

    @classmethod
    def plain(cls, length: int, size: int) -> Chunking:
        """Return the chunking of a sequence as it stands."""
        return cls(Axis(length), size)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.axis.length

    @property
    def count(self) -> int:
        """Number of units."""
        return -(-self.length // self.size)

    @cached_property
    def sizes(self) -> Array:
        """Tokens of each unit, int64 (count,)."""
        first = np.arange(self.count) * self.size
        return np.minimum(first + self.size, self.length) - first

    @cached_property
    def unit_of(self) -> Array:
        """The unit of each token, int64 (length,)."""
        found = np.empty(self.length, np.int64)
        found[self.axis.places] = np.arange(self.length) // self.size
        return found

    def tokens(self, units: Array) -> Array:
        """Return the positions of the tokens of `units`, ascending."""
        slots = (units[:, None] * self.size + np.arange(self.size)).reshape(-1)
        found: Array = np.sort(self.axis.at(slots[slots < self.length]))
        return found


@dataclass(frozen=True, eq=False)
class Partition:
    """The owner of each unit, int64 (chunking.count,), among `ranks`; `name` is that of its partitioner."""

    name: str
    chunking: Chunking
    owner: Array
    ranks: int

    def units(self, rank: int) -> Array:
        """Return the units of a rank, ascending."""
        return np.flatnonzero(self.owner == rank)

    def tokens(self, rank: int) -> Array:
        """Return the positions that a rank owns, ascending: the order of its rows."""
        return self.chunking.tokens(self.units(rank))

    @cached_property
    def counts(self) -> Array:
        """Tokens of each rank, int64 (ranks,)."""
        return np.bincount(self.owner, self.chunking.sizes, self.ranks).astype(np.int64)
