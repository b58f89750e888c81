"""Tasks: what each rank computes after each round, so that every connected pair of units is computed once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency, Strip
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Moves, Task
from attncc.ir.tables import Array

#: (round, units of keys) that come together.
Arrival = tuple[int, Array]


def tasks(
    adjacency: Adjacency, partition: Partition, keys: Moves, queries: Moves, *, joined: bool, slices: int
) -> tuple[Task, ...]:
    """Return the tasks of all ranks, by (rank, round); `joined` computes all keys of a rank at once, after the last.

    What a rank computes on its own keys is cut into `slices` by queries, one after each of as many rounds from 0 on, so
    that it hides rounds that bring little work.
    """
    found: list[Task] = []
    arriving = zip(*(moves.by_target(partition.ranks) for moves in (keys, queries)), strict=True)
    for rank, (arrived, guests) in enumerate(arriving):
        away = queries.select(partition.owner[queries.unit] == rank)
        made = _of_rank(rank, adjacency, partition, arrived, guests, away, joined, slices)
        found += sorted(made, key=lambda task: task.round)
    return tuple(found)


def _of_rank(
    rank: int,
    adjacency: Adjacency,
    partition: Partition,
    keys: Moves,
    guests: Moves,
    away: Moves,
    joined: bool,
    slices: int,
) -> Iterator[Task]:
    """Yield a rank's tasks: `keys` and `guests`, others' queries, reach it; `away` are its own queries elsewhere."""
    own = partition.units(rank)
    mine = partition.owner == rank
    strips = [strip.select(mine[strip.query]) for strip in adjacency.strips]
    staying = _by_absence(own, partition.ranks, away)
    arrivals = _arrivals(own, keys)
    for round_, units in _together(arrivals) if joined else arrivals:
        for rows, absent in staying:
            here = units[~absent[partition.owner[units]]]
            for late, part in enumerate(np.array_split(rows, slices if round_ == 0 else 1)):
                yield from _task(rank, round_ + late, part, here, strips, adjacency.cut.count)
    for round_, units in _arrivals(own[:0], guests):
        visitors = _mask(units, adjacency.cut.count)
        visiting = [strip.select(visitors[strip.query]) for strip in adjacency.strips]
        yield from _task(rank, round_, units, own, visiting, adjacency.cut.count)


def _by_absence(own: Array, ranks: int, away: Moves) -> list[tuple[Array, Array]]:
    """Return (own units, bool (ranks,): where their queries are pushed to, and pairs with its keys are computed)."""
    units = np.unique(away.unit)
    absent = np.zeros((len(units), ranks), bool)
    absent[np.searchsorted(units, away.unit), away.target] = True
    signatures, kind = np.unique(absent, axis=0, return_inverse=True)
    home = np.setdiff1d(own, units, assume_unique=True)
    groups = [(units[kind.reshape(-1) == index], signature) for index, signature in enumerate(signatures)]
    return [(home, np.zeros(ranks, bool)), *groups]


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
