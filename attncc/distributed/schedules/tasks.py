"""Tasks: what each rank computes after each round, so that every connected pair of units is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency, Strip
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Moves, Task
from attncc.ir.tables import Array
from attncc.planner.order import opens, order_by

#: (round, units, ascending) that come together.
Arrival = tuple[int, Array]


@dataclass(frozen=True, eq=False)
class Meeting:
    """Units of queries and of keys, both ascending, that a rank has after a round; not all need be connected."""

    round: int
    queries: Array
    keys: Array


def tasks(
    adjacency: Adjacency, partition: Partition, keys: Moves, queries: Moves, *, joined: bool, slices: int
) -> tuple[Task, ...]:
    """Return the tasks of all ranks, by (rank, round); `joined` computes all keys of a rank at once, after the last.

    What a rank computes on its own keys is cut into `slices` by queries. One follows each of as many rounds from 0 on,
    so that it hides rounds that bring little work.
    """
    arrived, guests = (_arrivals(moves, partition.ranks) for moves in (keys, queries))
    found: list[Task] = []
    for rank in range(partition.ranks):
        own = partition.units(rank)
        at_home = [(0, own), *arrived[rank]] if len(own) else arrived[rank]
        if joined and at_home:
            at_home = [(at_home[-1][0], np.sort(np.concatenate([units for _, units in at_home])))]
        staying = _by_absence(own, partition.ranks, queries.select(partition.owner[queries.unit] == rank))
        meetings = list(_at_home(partition, at_home, staying, slices))
        meetings += [Meeting(round_, units, own) for round_, units in guests[rank]]
        found += sorted(_connected(rank, meetings, adjacency), key=lambda task: task.round)
    return tuple(found)


def _arrivals(moves: Moves, ranks: int) -> list[list[Arrival]]:
    """Return what reaches each rank in each round."""
    order = order_by(moves.target, moves.round, moves.unit)
    target, round_, unit = moves.target[order], moves.round[order], moves.unit[order]
    first = np.flatnonzero(opens(target, round_))
    found: list[list[Arrival]] = [[] for _ in range(ranks)]
    for start, stop in pairwise([*first.tolist(), len(unit)]):
        found[int(target[start])].append((int(round_[start]), unit[start:stop]))
    return found


def _by_absence(own: Array, ranks: int, away: Moves) -> list[tuple[Array, Array]]:
    """Return (own units, bool (ranks,): where their queries are pushed to, and pairs with its keys are computed)."""
    absent = np.zeros((len(own), ranks), bool)
    absent[np.searchsorted(own, away.unit), away.target] = True
    gone = absent.any(axis=1)
    kinds: dict[bytes, list[int]] = {}
    for place in np.flatnonzero(gone).tolist():
        kinds.setdefault(absent[place].tobytes(), []).append(place)
    groups = [(own[places], np.frombuffer(kind, bool)) for kind, places in sorted(kinds.items())]
    return [(own[~gone], np.zeros(ranks, bool)), *groups]


def _at_home(
    partition: Partition, arrivals: Sequence[Arrival], staying: Sequence[tuple[Array, Array]], slices: int
) -> Iterator[Meeting]:
    """Yield the meetings of a rank's own queries with keys, those left out that queries are pushed to."""
    for round_, units in arrivals:
        for rows, absent in staying:
            here = units[~absent[partition.owner[units]]]
            for late, part in enumerate(np.array_split(rows, slices if round_ == 0 else 1)):
                yield Meeting(round_ + late, part, here)


def _connected(rank: int, meetings: Sequence[Meeting], adjacency: Adjacency) -> Iterator[Task]:
    """Yield the tasks of meetings, without units that see nothing or aren't seen, and those where no pair is left."""
    queries, keys = _Side.of([each.queries for each in meetings]), _Side.of([each.keys for each in meetings])
    seeing, seen = np.zeros(len(queries.unit), bool), np.zeros(len(keys.unit), bool)
    work = np.zeros(len(meetings))
    for strip, place in zip(adjacency.strips, adjacency.places, strict=True):
        work += _meet(strip, place, queries, keys, seeing, seen)
    for each, work_, rows, cols in zip(meetings, work, queries.parts(seeing), keys.parts(seen), strict=True):
        if rows.any():
            yield Task(rank, each.round, each.queries[rows], each.keys[cols], float(work_))


@dataclass(frozen=True, eq=False)
class _Side:
    """The queries or the keys of several meetings, one after another: `unit` of meeting number `meeting`."""

    sizes: Array
    meeting: Array
    unit: Array

    @classmethod
    def of(cls, parts: Sequence[Array]) -> _Side:
        sizes = np.array([len(part) for part in parts], np.int64)
        unit = np.concatenate([np.empty(0, np.int64), *parts])
        return cls(sizes, np.repeat(np.arange(len(parts)), sizes), unit)

    def parts(self, values: Array) -> list[Array]:
        """Return the values of each meeting."""
        return np.split(values, np.cumsum(self.sizes)[:-1]) if len(self.sizes) else []


def _meet(strip: Strip, place: Array, queries: _Side, keys: _Side, seeing: Array, seen: Array) -> Array:
    """Return the pairs of each meeting in a strip, float64, and mark the queries that see and the keys that are seen.

    Args:
        place: Where each unit is among those of the strip, -1 for nowhere.
    """
    row, entry = strip.entries(queries.unit)
    meeting, width = queries.meeting[row], len(strip.units) + 1
    at = place[keys.unit]
    there = np.flatnonzero(at >= 0)
    slot = keys.meeting[there] * width + at[there]  # ascends
    start, stop = strip.start[entry], strip.stop[entry]
    low, high = np.searchsorted(slot, meeting * width + start), np.searchsorted(slot, meeting * width + stop)
    seeing[row[high > low]] = True
    begun, ended = (np.bincount(ends, minlength=len(slot) + 1)[:-1] for ends in (low, high))
    seen[there[np.cumsum(begun - ended) > 0]] = True
    return np.bincount(meeting, strip.pairs[entry] * (high - low) / (stop - start), len(queries.sizes))
