"""Chosen rows: of the units of keys that a rank gets, those rows that its queries' lists name; no others travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Of each rank, the keys of other ranks that it may get: positions[rank], ascending, int64."""

    chunking: Chunking
    positions: tuple[Array, ...]

    def among(self, rank: int, tokens: Array) -> Array:
        """Return those of some positions that a rank may get, in their order."""
        found: Array = tokens[np.isin(tokens, self.positions[rank], assume_unique=True)]
        return found

    def counts(self, rank: int) -> Array:
        """Return how many rows of each unit a rank may get, int64 (chunking.count,)."""
        return np.bincount(self.chunking.unit_at(self.positions[rank]), minlength=self.chunking.count)

    def carried(self, ranks: Array, units: Array) -> Array:
        """Return how many rows of units[n] go to ranks[n], int64 (len(units),)."""
        found = np.zeros(len(units), np.int64)
        for rank in np.unique(ranks):
            here = ranks == rank
            found[here] = self.counts(rank)[units[here]]
        return found

    def alike(self) -> ChosenRows:
        """Return the same rows for all ranks: those that any of them may get, as where ranks pass units on."""
        return ChosenRows(self.chunking, (np.unique(np.concatenate(self.positions)),) * len(self.positions))


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
    for rank in range(partition.ranks):
        own, seen = np.zeros((2, chunking.length), bool)
        own[partition.tokens(rank)] = True
        for strip, listed in zip(adjacency.strips, adjacency.memberships, strict=True):
            if listed is None:
                part = strip.select(partition.owner[strip.query] == rank)
                seen[chunking.tokens(strip.units[part.coverage() > 0])] = True
            else:
                rows, cols = listed.layout.rows.places, listed.layout.cols.places
                seen[cols[listed.keys_of(own[rows])]] = True
        yield np.flatnonzero(seen & ~own)
