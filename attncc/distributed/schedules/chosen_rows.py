"""Chosen rows: of the units of keys that a rank gets, those rows that its queries' lists name; no others travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.ir.tables import Array
from attncc.planner.axis import Axis


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Of each rank, the keys of other ranks that it may get: positions[rank], ascending, int64."""

    chunking: Chunking
    positions: tuple[Array, ...]
    _counts: dict[int, Array] = field(default_factory=dict, repr=False)

    def among(self, rank: int, tokens: Array) -> Array:
        """Return those of some positions that a rank may get, in their order."""
        found: Array = tokens[np.isin(tokens, self.positions[rank], assume_unique=True)]
        return found

    def counts(self, rank: int) -> Array:
        """Return how many rows of each unit a rank may get, int64 (chunking.count,); they are kept."""
        if rank not in self._counts:
            unit = self.chunking.unit_at(self.positions[rank])
            self._counts[rank] = np.bincount(unit, minlength=self.chunking.count)
        return self._counts[rank]

    def carried(self, ranks: Array, units: Array) -> Array:
        """Return how many rows of units[n] go to ranks[n], int64 (len(units),)."""
        found = np.zeros(len(units), np.int64)
        for rank in np.unique(ranks):
            here = ranks == rank
            found[here] = self.counts(rank)[units[here]]
        return found

    def alike(self) -> ChosenRows:
        """Return the same rows for all ranks: those that any of them may get, as where ranks pass units on."""
        seen = np.zeros(self.chunking.length, bool)
        for rows in self.positions:
            seen[rows] = True
        found = ChosenRows(self.chunking, (np.flatnonzero(seen),) * len(self.positions))
        found._counts.update(dict.fromkeys(range(len(self.positions)), found.counts(0)))
        return found


def chosen_rows(adjacency: Adjacency, partition: Partition) -> ChosenRows | None:
    """Return the keys of others that the queries of each rank can see; None where no lists tell.

    Clauses without lists count with all rows of the units that they reach. What else a clause with lists asks of a pair
    isn't looked at.
    """
    if all(each is None for each in adjacency.memberships):
        return None
    return ChosenRows(partition.chunking, tuple(_of_ranks(adjacency, partition)))


def _of_ranks(adjacency: Adjacency, partition: Partition) -> Iterator[Array]:
    chunking = partition.chunking
    slots = [None if each is None else _slots(each.layout.rows) for each in adjacency.memberships]
    for rank in range(partition.ranks):
        own, seen = partition.tokens(rank), np.zeros(chunking.length, bool)
        for strip, listed, slot in zip(adjacency.strips, adjacency.memberships, slots, strict=True):
            if listed is None or slot is None:
                part = strip.select(partition.owner[strip.query] == rank)
                seen[chunking.tokens(strip.units[part.coverage() > 0])] = True
            else:
                rows, cols = slot[own], listed.layout.cols
                found = listed.keys_of(rows[rows >= 0])
                seen[cols.at(np.flatnonzero(found))] = True
        seen[own] = False
        yield np.flatnonzero(seen)


def _slots(axis: Axis) -> Array:
    """Return the slot of each position of an axis, -1 for none."""
    found = np.full(axis.length, -1)
    found[axis.places] = np.arange(axis.size)
    return found
