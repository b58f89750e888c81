"""Tasks: what each rank computes after each round, so that every connected pair of units is computed once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncc.distributed.adjacency import Adjacency, Strip
from attncc.distributed.partition import Partition
from attncc.distributed.schedule import Moves, Task
from attncc.ir.tables import Array

#: (round, units of keys) that come together.
Arrival = tuple[int, Array]


def tasks(adjacency: Adjacency, partition: Partition, keys: Moves, queries: Moves, *, joined: bool) -> tuple[Task, ...]:
    """Return the tasks of all ranks, by (rank, round); `joined` computes all keys of a rank at once, after the last."""
    found: list[Task] = []
    for rank in range(partition.ranks):
        found += sorted(_of_rank(rank, adjacency, partition, keys, queries, joined), key=lambda task: task.round)
    return tuple(found)


def _of_rank(
    rank: int, adjacency: Adjacency, partition: Partition, keys: Moves, queries: Moves, joined: bool
) -> Iterator[Task]:
    own = partition.units(rank)
    mine = partition.owner == rank
    strips = [strip.select(mine[strip.query]) for strip in adjacency.strips]
    staying = _by_absence(own, partition, queries)
    arrivals = _arrivals(own, keys.select(keys.target == rank))
    for round_, units in _together(arrivals) if joined else arrivals:
        for rows, away in staying:
            yield from _task(rank, round_, rows, units[~away[partition.owner[units]]], strips, adjacency.cut.count)
    for round_, units in _arrivals(own[:0], queries.select(queries.target == rank)):
        guests = _mask(units, adjacency.cut.count)
        visiting = [strip.select(guests[strip.query]) for strip in adjacency.strips]
        yield from _task(rank, round_, units, own, visiting, adjacency.cut.count)


def _by_absence(own: Array, partition: Partition, queries: Moves) -> list[tuple[Array, Array]]:
    """Return (own units, bool (ranks,): where their queries are pushed to, and pairs with its keys are computed)."""
    away = np.zeros((len(own), partition.ranks), bool)
    mine = np.isin(queries.unit, own)
    away[np.searchsorted(own, queries.unit[mine]), queries.target[mine]] = True
    signatures, kind = np.unique(away, axis=0, return_inverse=True)
    return [(own[kind.reshape(-1) == index], signature) for index, signature in enumerate(signatures)]


def _arrivals(own: Array, moves: Moves) -> list[Arrival]:
    """Return the own units, in round 0, and those that come in each round."""
    rounds = np.unique(moves.round)
    found = [(0, own)] if len(own) else []
    return found + [(int(k), np.sort(moves.unit[moves.round == k])) for k in rounds]


def _together(arrivals: list[Arrival]) -> list[Arrival]:
    if not arrivals:
        return []
    return [(arrivals[-1][0], np.sort(np.concatenate([units for _, units in arrivals])))]


def _task(rank: int, round_: int, queries: Array, keys: Array, strips: list[Strip], count: int) -> Iterator[Task]:
    """Yield the task of these units without those that see nothing or aren't seen, if any are left."""
    rows, cols = _mask(queries, count), _mask(keys, count)
    seeing, seen, work = np.zeros(count, bool), np.zeros(count, bool), 0.0
    for strip in strips:
        reached = strip.reached(cols)
        chosen = rows[strip.query] & (reached > 0)
        part = strip.select(chosen)
        seeing[part.query] = True
        seen[part.units[part.coverage() > 0]] = True
        work += float((part.pairs * reached[chosen] / (part.stop - part.start)).sum())
    seen &= cols
    if seeing.any():
        yield Task(rank, round_, np.flatnonzero(seeing), np.flatnonzero(seen), work)


def _mask(units: Array, count: int) -> Array:
    found = np.zeros(count, bool)
    found[units] = True
    return found
