"""Partitions: a sequence cut into units, and which rank owns each unit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
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

    def unit_at(self, positions: Array) -> Array:
        """Return the units of the tokens at positions."""
        return positions // self.size if self.axis.order is None else self._unit_of[positions]

    @cached_property
    def _unit_of(self) -> Array:
        """The unit of each token, int64 (length,)."""
        found = np.empty(self.length, np.int64)
        found[self.axis.places] = np.arange(self.length) // self.size
        return found

    def tokens(self, units: Array) -> Array:
        """Return the positions of the tokens of `units`, ascending."""
        units = np.sort(units)
        slots = (units[:, None] * self.size + np.arange(self.size)).reshape(-1)
        if len(units) and units[-1] == self.count - 1:
            slots = slots[: len(slots) + self.length - self.count * self.size]
        return slots if self.axis.order is None else np.sort(self.axis.at(slots))

    @cached_property
    def digest(self) -> bytes:
        """A hash of which tokens each unit has: equal chunkings have equal digests, in every process."""
        sha = hashlib.sha256(repr((self.length, self.size)).encode())
        if self.axis.order is not None:
            sha.update(np.ascontiguousarray(self.axis.places, np.int64).data)
        return sha.digest()


@dataclass(frozen=True, eq=False)
class Partition:
    """The owner of each unit, int64 (chunking.count,), among `ranks`; `name` is that of its partitioner."""

    name: str
    chunking: Chunking
    owner: Array
    ranks: int
    _tokens: dict[int, Array] = field(default_factory=dict, repr=False)

    def units(self, rank: int) -> Array:
        """Return the units of a rank, ascending."""
        return np.flatnonzero(self.owner == rank)

    def tokens(self, rank: int) -> Array:
        """Return the positions that a rank owns, ascending: the order of its rows."""
        if rank not in self._tokens:
            self._tokens[rank] = self.chunking.tokens(self.units(rank))
        return self._tokens[rank]

    @cached_property
    def digest(self) -> bytes:
        """A hash of who owns what: equal partitions have equal digests, in every process."""
        return hashlib.sha256(self.chunking.digest + np.ascontiguousarray(self.owner, np.int64).tobytes()).digest()

    @cached_property
    def counts(self) -> Array:
        """Tokens of each rank, int64 (ranks,)."""
        return np.bincount(self.owner, self.chunking.sizes, self.ranks).astype(np.int64)
