"""Tables: what one rank holds, sends, gets and computes in each round, from the schedule of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.backends.head_subset import HeadSubset
from attncc.backends.slots import Slots
from attncc.distributed.execution.rows import Gather
from attncc.distributed.schedules.chosen_rows import ChosenRows
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import HeadClassSchedule, Moves, Schedule, Task
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Message:
    """Rows that go to a rank, or come from it, in ascending position."""

    peer: int
    rows: Gather


@dataclass(frozen=True, eq=False)
class SideTables:
    """The keys, or the queries, of a head class on a rank.

    Attributes:
        stores: The positions that the rank holds: its own, then what each round brings.
        sends, gets: The messages of each round, [0] being none; the rows of one that comes are in the store of its
            round.
    """

    stores: tuple[Array, ...]
    sends: tuple[tuple[Message, ...], ...]
    gets: tuple[tuple[Message, ...], ...]

    @classmethod
    def of(cls, schedule: Schedule, moves: Moves, rank: int, chosen: ChosenRows | None = None) -> SideTables:
        """Return a rank's side of some moves, of which only `chosen` rows travel."""
        partition, rounds = schedule.partition, range(schedule.rounds + 1)
        here, gone = moves.select(moves.target == rank), moves.select(moves.source == rank)
        brought = [_tokens(partition, here.unit[here.round == number], rank, chosen) for number in rounds]
        stores = (partition.tokens(rank), *brought[1:])

        def by_round(own: Moves, peers: Array) -> tuple[tuple[Message, ...], ...]:
            parts = [own.round == number for number in rounds]
            return tuple(_messages(partition, own.select(now), peers[now], stores, chosen) for now in parts)

        return cls(stores, by_round(gone, gone.target), by_round(here, here.source))

    @property
    def travel(self) -> bool:
        """Whether the rank sends or gets any of these rows."""
        return any(self.sends) or any(self.gets)


@dataclass(frozen=True, eq=False)
class RankTask:
    """Attention of some rows over others, after a round; `queries` and `keys` are gathered from stores."""

    round: int
    queries: Gather
    keys: Gather
    query_positions: Array
    key_positions: Array


@dataclass(frozen=True, eq=False)
class HeadClassTables:
    """A head class on a rank.

    Attributes:
        returned: Messages of results to owners of queries.
        awaited: Of results from other ranks.
        merges: Of each store of queries, whether several results meet in one of its rows.
    """

    subset: HeadSubset
    keys: SideTables
    queries: SideTables
    returned: tuple[Message, ...]
    awaited: tuple[Message, ...]
    tasks: tuple[RankTask, ...]
    merges: tuple[bool, ...]

    @classmethod
    def of(cls, schedule: Schedule, head_class: HeadClassSchedule, rank: int) -> HeadClassTables:
        """Return a rank's part of a head class's schedule."""
        keys = SideTables.of(schedule, head_class.keys, rank, head_class.chosen)
        queries = SideTables.of(schedule, head_class.queries, rank)
        partition, pushed = schedule.partition, head_class.queries
        owner = partition.owner[pushed.unit]
        here, away = pushed.target == rank, owner == rank
        returned = _messages(partition, pushed.select(here), owner[here], queries.stores)
        awaited = _messages(partition, pushed.select(away), pushed.target[away], queries.stores)
        tasks = tuple(_task(partition, task, head_class, keys, queries) for task in head_class.tasks_of(rank))
        results = [task.queries for task in tasks] + [message.rows for message in awaited]
        merges = _meet(results, queries.stores)
        subset = HeadSubset.of_pairs(head_class.members)
        return cls(subset, keys, queries, returned, awaited, tasks, merges)


@dataclass(frozen=True, eq=False)
class RankTables:
    """All that a rank does; of each round, whether any rank sends keys or queries in it ([0] being none)."""

    rank: int
    rounds: int
    returns: bool
    head_classes: tuple[HeadClassTables, ...]
    keys_move: tuple[bool, ...]
    queries_move: tuple[bool, ...]

    @classmethod
    def of(cls, schedule: Schedule, rank: int) -> RankTables:
        """Return the tables of a rank."""
        classes, rounds = schedule.head_classes, range(schedule.rounds + 1)
        return cls(
            rank,
            schedule.rounds,
            schedule.returns,
            tuple(HeadClassTables.of(schedule, heads, rank) for heads in classes),
            tuple(any((heads.keys.round == number).any() for heads in classes) for number in rounds),
            tuple(any((heads.queries.round == number).any() for heads in classes) for number in rounds),
        )


def _messages(
    partition: Partition, moves: Moves, peers: Array, stores: tuple[Array, ...], chosen: ChosenRows | None = None
) -> tuple[Message, ...]:
    """Return the rows of moved units by peer, ascending."""
    found = []
    for peer in np.unique(peers):
        own = moves.select(peers == peer)
        rows = _tokens(partition, own.unit, int(own.target[0]), chosen)
        found.append(Message(int(peer), Gather.of(rows, stores)))
    return tuple(found)


def _tokens(partition: Partition, units: Array, target: int, chosen: ChosenRows | None) -> Array:
    """Return the positions of the rows of units that go to a rank, ascending."""
    tokens = partition.chunking.tokens(units)
    return tokens if chosen is None else chosen.among(target, tokens)


def _meet(results: list[Gather], stores: tuple[Array, ...]) -> tuple[bool, ...]:
    """Return of each store whether a row of it is in more than one of the results."""
    parts = [part for gather in results for part in gather.parts]
    return tuple(
        _overlap([part.source for part in parts if part.store == number], len(positions))
        for number, positions in enumerate(stores)
    )


def _overlap(several: list[Slots], length: int) -> bool:
    """Return whether any of `length` rows is in more than one of the slots."""
    if len(several) < 2:
        return False
    counts = np.zeros(length, np.int64)
    for slots in several:
        counts[slots.rows()] += 1
    return bool((counts > 1).any())


def _task(
    partition: Partition, task: Task, head_class: HeadClassSchedule, keys: SideTables, queries: SideTables
) -> RankTask:
    wanted, seen = partition.chunking.tokens(task.queries), head_class.key_tokens(partition, task.rank, task.keys)
    return RankTask(task.round, Gather.of(wanted, queries.stores), Gather.of(seen, keys.stores), wanted, seen)
