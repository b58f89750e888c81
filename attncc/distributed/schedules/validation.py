"""Validation of a schedule: ranks have what they send and compute with, and every connected pair is computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.chosen_rows import chosen_rows
from attncc.distributed.schedules.head_classes import HeadClass
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import HeadClassSchedule, Moves, Schedule
from attncc.errors import REPORT, DistributedError
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import NK, NQ, I, J
from attncc.ir.tables import Array

RULE = "A unit moves from a rank that has it to one that hasn't, and tasks use what their rank has by then."
#: Schedules come from people, too.
FIX = f"Change the moves or tasks of your own schedule. {REPORT}"
#: Pairs of units that are counted, and pairs of tokens that are evaluated, at once.
AT_ONCE = 1 << 22


def check_schedule(schedule: Schedule) -> None:
    """Raise DistributedError unless every rank can do its part of the schedule with what it has and gets."""
    for heads in schedule.head_classes:
        for moves, side in ((heads.keys, "keys"), (heads.queries, "queries")):
            _check_range(schedule, moves)
            _check_holders(schedule.partition, moves, _needs(heads, side))
    _check_members(schedule)


def _check_range(schedule: Schedule, moves: Moves) -> None:
    ranks, units = schedule.partition.ranks, schedule.partition.chunking.count
    ends = ("round", 1, schedule.rounds), ("source", 0, ranks - 1), ("target", 0, ranks - 1), ("unit", 0, units - 1)
    for name, low, high in ends:
        values = getattr(moves, name)
        if len(values) and not low <= values.min() <= values.max() <= high:
            raise DistributedError(
                f"A move has {name} {values.min() if values.min() < low else values.max()}.",
                rule=f"It is {low} to {high} in this schedule.",
                fix=FIX,
            )


def _check_holders(partition: Partition, moves: Moves, needed: tuple[Array, Array, Array]) -> None:
    """Check sources and targets of moves, and what tasks need: (rank, unit, round by which it must be there)."""
    owner, count = partition.owner, partition.chunking.count
    there = moves.target * count + moves.unit
    order = np.argsort(there, kind="stable")
    arrived, when = there[order], moves.round[order]
    twice = np.flatnonzero(arrived[1:] == arrived[:-1])
    home = np.flatnonzero(owner[moves.unit] == moves.target)
    if len(twice) or len(home):
        where = int(arrived[twice[0]]) if len(twice) else int(there[home[0]])
        raise DistributedError(
            f"Unit {where % count} is sent to rank {where // count}, which has it.", rule=RULE, fix=FIX
        )
    for what, rank, unit, by in (("sends", moves.source, moves.unit, moves.round - 1), ("computes with", *needed)):
        wrong = _absent(arrived, when, rank * count + unit, by) & (owner[unit] != rank)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise DistributedError(
                f"Rank {rank[at]} {what} unit {unit[at]}, which it hasn't got by round {by[at]}.", rule=RULE, fix=FIX
            )


def _absent(arrived: Array, when: Array, wanted: Array, by: Array) -> Array:
    """Return where what is `wanted` hasn't arrived `by` a round; `arrived` ascends."""
    if not len(arrived):
        return np.ones(len(wanted), bool)
    at = np.minimum(np.searchsorted(arrived, wanted), len(arrived) - 1)
    absent: Array = (arrived[at] != wanted) | (when[at] > by)
    return absent


def _needs(heads: HeadClassSchedule, side: str) -> tuple[Array, Array, Array]:
    """Return (rank, unit, round) of what the tasks of a head class read."""
    units = [getattr(task, side) for task in heads.tasks]
    lengths = [len(own) for own in units]
    rank, by = (np.array([getattr(task, name) for task in heads.tasks], np.int64) for name in ("rank", "round"))
    return np.repeat(rank, lengths), np.concatenate([np.empty(0, np.int64), *units]), np.repeat(by, lengths)


def _check_members(schedule: Schedule) -> None:
    """Check that no head of a batch entry is in two head classes."""
    members = [heads.members for heads in schedule.head_classes]
    counts = Counter((int(b), int(h)) for pairs in members if pairs is not None for b, h in pairs)
    twice = [pair for pair, number in counts.items() if number > 1]
    whole = len(members) > 1 and any(pairs is None for pairs in members)
    if twice or whole:
        what = f"Batch entry {twice[0][0]} with key head {twice[0][1]} is" if twice else "All that one of them has are"
        raise DistributedError(
            f"{what} in two head classes.", rule="A head of a batch entry is in one head class.", fix=FIX
        )


def check_covers(schedule: Schedule, problem: PartitioningProblem) -> None:
    """Raise DistributedError unless the schedule, of this problem, computes each of its connected pairs once.

    Exact: what the adjacency lists but hasn't proved, and no task or more than one has, is evaluated by token.
    """
    class_of = _class_of(schedule, problem.inputs)
    for each, seen in zip(problem.classes, problem.adjacencies(schedule.partition.chunking), strict=True):
        own = class_of if each.members is None else class_of[tuple(each.members.T)]
        for number in np.unique(own):
            _check_class(schedule, int(number), each, seen)


def _class_of(schedule: Schedule, inputs: Inputs) -> Array:
    """Return the number of the head class that each key head is in, int64 (batch, key heads)."""
    found = np.full((inputs.batch, inputs.kv_heads), -1)
    for number, head_class in enumerate(schedule.head_classes):
        members = np.argwhere(found < 0) if head_class.members is None else head_class.members
        if ((members < 0) | (members >= found.shape)).any():
            raise DistributedError(
                f"Head class {number} has batch entry and key head {members.max(0).tolist()}.",
                rule=f"There are {inputs.batch} batch entries and {inputs.kv_heads} key heads, from 0 on.",
                fix="Name those, or None for all that are in no other head class.",
            )
        found[tuple(members.T)] = number
    missing = np.argwhere(found < 0)
    if len(missing):
        entry, head = missing[0]
        raise DistributedError(
            f"Key head {head} of batch entry {entry} is in no head class.",
            rule="Every key head of every entry is in one.",
            fix="Add it to the class of heads that see alike.",
        )
    return found


def _check_class(schedule: Schedule, number: int, each: HeadClass, seen: Adjacency) -> None:
    head_class, owner, chunking = schedule.head_classes[number], schedule.partition.owner, seen.chunking
    _check_rows(schedule, head_class, seen)
    for query, keys in _doubtful(head_class, seen):
        key = _first_connected(each, chunking, query, keys)
        if key is None:
            continue
        ranks = [task.rank for task in head_class.tasks if query in task.queries and key in task.keys]
        who = f"Ranks {', '.join(map(str, ranks))} each compute" if ranks else "No rank computes"
        raise DistributedError(
            f"{who} the queries of unit {query}, of rank {owner[query]}, with the keys of unit {key}, of rank "
            f"{owner[key]} (head class {number}).",
            rule="Every pair of units that the pattern connects is computed once.",
            fix="Take the schedule of an attention for the same pattern: op.schedule.",
        )


def _check_rows(schedule: Schedule, head_class: HeadClassSchedule, seen: Adjacency) -> None:
    """Raise DistributedError unless the rows that ranks get are among those chosen of the units that travel."""
    if head_class.chosen is None:
        return
    partition, moves = schedule.partition, head_class.keys
    needed = chosen_rows(seen, partition)
    for rank in np.unique(moves.target):
        rows = partition.chunking.tokens(moves.unit[moves.target == rank])
        rows = rows if needed is None else needed.among(rank, rows)
        missing = np.setdiff1d(rows, head_class.chosen.positions[rank])
        if len(missing):
            raise DistributedError(
                f"Rank {rank} doesn't get the key at {missing[0]}, which its queries see.",
                rule="Of the units of keys that travel, all rows are chosen that queries of the rank see.",
                fix="Leave chosen out, so that whole units travel.",
            )


def _doubtful(head_class: HeadClassSchedule, seen: Adjacency) -> Iterator[tuple[int, Array]]:
    """Yield units of queries, and those of the keys listed for them that not exactly one task computes them with."""
    count = seen.chunking.count
    every, step = np.arange(count), max(1, AT_ONCE // count)
    for first in range(0, count, step):
        rows = every[first : first + step]
        times = np.zeros((len(rows), count), np.int32)
        for task in head_class.tasks:
            low, high = np.searchsorted(task.queries, [first, first + step])
            if low < high:
                times[(task.queries[low:high] - first)[:, None], task.keys] += 1
        wrong = seen.between(rows, every) & (times != 1)
        yield from ((first + int(row), np.flatnonzero(wrong[row])) for row in np.flatnonzero(wrong.any(1)))


def _first_connected(each: HeadClass, chunking: Chunking, query: int, keys: Array) -> int | None:
    """Return the first of the units `keys` that a query of unit `query` sees any key of."""
    queries, step = chunking.tokens(np.array([query])), max(1, AT_ONCE // chunking.size**2)
    for first in range(0, len(keys), step):
        positions = chunking.tokens(keys[first : first + step])
        lengths = {NQ: chunking.length, NK: chunking.length}
        env = {I: queries[:, None], J: positions[None, :], **lengths}
        holds = [evaluate_predicate(seen.predicate, {**env, **seen.tables}) for seen, _ in each.seen]
        reached = np.logical_or.reduce([np.broadcast_to(x, (len(queries), len(positions))) for x in holds]).any(0)
        if reached.any():
            return int(chunking.unit_at(positions[reached]).min())
    return None
