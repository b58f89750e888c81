"""Exchange: which units of keys and of queries must reach which ranks, so that every pair of units meets somewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.chosen_rows import ChosenRows, chosen_rows
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.traffic import TokenBytes
from attncc.distributed.schedules.vertex_cover import cheapest_cover
from attncc.ir.tables import Array
from attncc.planner.order import order_by


@dataclass(frozen=True, eq=False)
class Demand:
    """Rank `rank[n]` must get unit `unit[n]`, which another rank owns; sorted, each pair once."""

    rank: Array
    unit: Array

    @classmethod
    def of(cls, parts: list[tuple[int, Array]]) -> Demand:
        """Return the demand of (rank, units)."""
        rank = np.repeat([rank for rank, _ in parts], [len(units) for _, units in parts]).astype(np.int64)
        unit = np.concatenate([np.empty(0, np.int64), *(units for _, units in parts)])
        order = order_by(rank, unit)
        return cls(rank[order], unit[order])

    def units(self, rank: int) -> Array:
        """Return the units that a rank gets, ascending."""
        first, last = np.searchsorted(self.rank, [rank, rank + 1])
        return self.unit[first:last]

    def ranks(self, unit: int) -> Array:
        """Return the ranks that get a unit, ascending."""
        found: Array = self.rank[self.unit == unit]
        return found


@dataclass(frozen=True, eq=False)
class Exchange:
    """The units that travel, and between which ranks.

    Attributes:
        keys: Units whose keys and values are pulled.
        queries: Units whose queries are pushed to the owners of keys.
        chosen: The rows of keys that are pulled, None for all of these units.
    """

    keys: Demand
    queries: Demand
    chosen: ChosenRows | None = None


def exchange(adjacency: Adjacency, partition: Partition, rows: TokenBytes) -> Exchange:
    """Return the exchange of least bytes for each ordered pair of ranks."""
    pulled: list[tuple[int, Array]] = []
    pushed: list[tuple[int, Array]] = []
    chosen = chosen_rows(adjacency, partition)
    for rank in range(partition.ranks):
        own = partition.units(rank)
        needed, degree = _needs(adjacency, partition.owner == rank)
        pulled_rows = partition.chunking.sizes if chosen is None else chosen.counts(rank)
        remote = np.flatnonzero(needed & (partition.owner != rank) & (pulled_rows > 0))
        if not len(remote):
            continue
        pulled_rows = pulled_rows[remote]
        others = _worth_a_look(partition, rank, remote, degree[remote], pulled_rows * rows.key, rows)
        asked = remote[~np.isin(partition.owner[remote], others)]
        sees = adjacency.between(own, remote) if len(others) else np.zeros((0, 0), bool)
        query_cost = partition.chunking.sizes[own] * (rows.query + rows.result)
        for other in others:
            theirs = np.flatnonzero(partition.owner[remote] == other)
            key_cost = pulled_rows[theirs] * rows.key
            queries, keys = cheapest_cover(sees[:, theirs], query_cost, key_cost)
            asked = np.concatenate([asked, remote[theirs[keys]]])
            pushed.append((int(other), own[queries]))
        pulled.append((rank, asked))
    pulls = Demand.of(pulled)
    if chosen is not None and np.array_equal(
        chosen.carried(pulls.rank, pulls.unit), partition.chunking.sizes[pulls.unit]
    ):
        chosen = None  # they are whole units
    return Exchange(pulls, Demand.of(pushed), chosen)


def _needs(adjacency: Adjacency, own: Array) -> tuple[Array, Array]:
    """Return which units the queries of a rank see, and a lower bound of how many of its units see each."""
    degree = np.zeros(adjacency.chunking.count, np.int64)
    for strip in adjacency.strips:
        part = strip.select(own[strip.query])
        if len(part.query):
            alike = len(np.unique(part.query)) == len(part.query)
            covered = part.coverage()
            degree[part.units] = np.maximum(degree[part.units], covered if alike else covered > 0)
    return degree > 0, degree


def _worth_a_look(
    partition: Partition, rank: int, remote: Array, degree: Array, key_cost: Array, rows: TokenBytes
) -> Array:
    """Return the ranks to which pushing queries could be cheaper than pulling all of `remote` that they own.

    Keys that stay home have all their queries pushed: at least as many as see the most seen of them. So of an owner's
    keys, those that fewest queries see must for some number of them cost more than the queries of the last.
    """
    sizes, owner = partition.chunking.sizes, partition.owner[remote]
    order = order_by(owner, degree)
    owner, keys = owner[order], np.cumsum(key_cost[order])
    opens = np.flatnonzero(np.diff(owner, prepend=-1))
    before = np.repeat(np.concatenate([[0], keys])[opens], np.diff(np.append(opens, len(owner))))
    smallest = sizes[partition.owner == rank].min(initial=partition.chunking.size)
    queries = ((degree[order] - 1) * partition.chunking.size + smallest) * (rows.query + rows.result)
    return np.unique(owner[keys - before > queries])
