"""Tables: what one rank holds, sends, gets and computes in each round, from the schedule of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.distributed.execution.rows import Pick
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Lane, Moves, Schedule
from attncc.distributed.schedules.schedule import Task as ScheduledTask
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Parcel:
    """Rows that go to a rank, or come from it, in ascending position."""

    peer: int
    rows: Pick


@dataclass(frozen=True, eq=False)
class Side:
    """The keys, or the queries, of a lane on a rank.

    stores: the positions that the rank holds: its own, then what each round brings. sends, gets: the parcels of each
    round, [0] being none; a parcel that comes is picked from the store of its round.
    """

    stores: tuple[Array, ...]
    sends: tuple[tuple[Parcel, ...], ...]
    gets: tuple[tuple[Parcel, ...], ...]

    @classmethod
    def of(cls, schedule: Schedule, moves: Moves, rank: int) -> Side:
        """Return a rank's side of some moves."""
        partition, rounds = schedule.partition, range(schedule.rounds + 1)
        here, gone = moves.select(moves.target == rank), moves.select(moves.source == rank)
        brought = [partition.cut.tokens(here.unit[here.round == number]) for number in rounds]
        stores = (partition.tokens(rank), *brought[1:])
        gets = [_parcels(partition, here.select(here.round == k), here.source[here.round == k], stores) for k in rounds]
        sends = [
            _parcels(partition, gone.select(gone.round == k), gone.target[gone.round == k], stores) for k in rounds
        ]
        return cls(stores, tuple(sends), tuple(gets))

    @property
    def travel(self) -> bool:
        """Whether the rank sends or gets any of these rows."""
        return any(self.sends) or any(self.gets)


@dataclass(frozen=True, eq=False)
class Task:
    """Attention of some rows over others, after a round; `queries` and `keys` are picked from the lane's stores."""

    round: int
    queries: Pick
    keys: Pick
    query_positions: Array
    key_positions: Array


@dataclass(frozen=True, eq=False)
class LaneOn:
    """A lane on a rank.

    returned: parcels of results to owners of queries; awaited: of results from other ranks. merges: of each store of
    queries, whether several results meet in one of its rows.
    """

    members: Array | None
    keys: Side
    queries: Side
    returned: tuple[Parcel, ...]
    awaited: tuple[Parcel, ...]
    tasks: tuple[Task, ...]
    merges: tuple[bool, ...]

    @classmethod
    def of(cls, schedule: Schedule, lane: Lane, rank: int) -> LaneOn:
        """Return a rank's part of a lane."""
        keys, queries = Side.of(schedule, lane.keys, rank), Side.of(schedule, lane.queries, rank)
        partition, pushed = schedule.partition, lane.queries
        owner = partition.owner[pushed.unit]
        here, away = pushed.target == rank, owner == rank
        awaited = _parcels(partition, pushed.select(away), pushed.target[away], queries.stores)
        tasks = tuple(_task(partition, task, keys, queries) for task in lane.tasks_of(rank))
        return cls(
            lane.members,
            keys,
            queries,
            _parcels(partition, pushed.select(here), owner[here], queries.stores),
            awaited,
            tasks,
            _meet([task.queries for task in tasks] + [parcel.rows for parcel in awaited], queries.stores),
        )


@dataclass(frozen=True, eq=False)
class RankTables:
    """All that a rank does; of each round, whether any rank sends keys or queries in it ([0] being none)."""

    rank: int
    rounds: int
    returns: bool
    lanes: tuple[LaneOn, ...]
    keys_move: tuple[bool, ...]
    queries_move: tuple[bool, ...]

    @classmethod
    def of(cls, schedule: Schedule, rank: int) -> RankTables:
        """Return the tables of a rank."""
        rounds = range(schedule.rounds + 1)
        return cls(
            rank,
            schedule.rounds,
            schedule.returns,
            tuple(LaneOn.of(schedule, lane, rank) for lane in schedule.lanes),
            tuple(any((lane.keys.round == k).any() for lane in schedule.lanes) for k in rounds),
            tuple(any((lane.queries.round == k).any() for lane in schedule.lanes) for k in rounds),
        )


def _parcels(partition: Partition, moves: Moves, peers: Array, stores: tuple[Array, ...]) -> tuple[Parcel, ...]:
    """Return the moved units by peer, ascending."""
    return tuple(
        Parcel(int(peer), Pick.of(partition.cut.tokens(moves.unit[peers == peer]), stores)) for peer in np.unique(peers)
    )


def _meet(results: list[Pick], stores: tuple[Array, ...]) -> tuple[bool, ...]:
    """Return of each store whether a row of it is in more than one of the results."""
    counts = [np.zeros(len(positions), np.int64) for positions in stores]
    for pick in results:
        for part in pick.parts:
            counts[part.store][part.source.where] += 1
    return tuple(bool((count > 1).any()) for count in counts)


def _task(partition: Partition, task: ScheduledTask, keys: Side, queries: Side) -> Task:
    wanted, seen = partition.cut.tokens(task.queries), partition.cut.tokens(task.keys)
    return Task(task.round, Pick.of(wanted, queries.stores), Pick.of(seen, keys.stores), wanted, seen)
