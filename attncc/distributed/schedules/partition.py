"""Partitions: which rank owns each unit of a cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.distributed.schedules.cut import Cut
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Partition:
    """The owner of each unit, int64 (cut.count,), among `ranks`; `name` says how it was found."""

    name: str
    cut: Cut
    owner: Array
    ranks: int

    def units(self, rank: int) -> Array:
        """Return the units of a rank, ascending."""
        return np.flatnonzero(self.owner == rank)

    def tokens(self, rank: int) -> Array:
        """Return the positions that a rank owns, ascending: the order of its rows."""
        return self.cut.tokens(self.units(rank))

    @cached_property
    def counts(self) -> Array:
        """Tokens of each rank, int64 (ranks,)."""
        return np.bincount(self.owner, self.cut.sizes, self.ranks).astype(np.int64)
