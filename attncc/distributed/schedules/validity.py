"""Validity of a schedule: nobody sends, or computes with, what it hasn't got, or gets what it has."""

from __future__ import annotations

from collections import Counter

import numpy as np

from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Lane, Moves, Schedule
from attncc.errors import REPORT, DistributedError
from attncc.ir.tables import Array

RULE = "A unit moves from a rank that has it to one that hasn't, and tasks use what their rank has by then."
#: Schedules come from people, too.
FIX = f"Change the moves or tasks of your own schedule. {REPORT}"


def check_schedule(schedule: Schedule) -> None:
    """Raise DistributedError unless every rank can do its part of the schedule with what it has and gets."""
    for lane in schedule.lanes:
        for moves, needed in ((lane.keys, _needs(lane, "keys")), (lane.queries, _needs(lane, "queries"))):
            _check_range(schedule, moves)
            _check_holders(schedule.partition, moves, needed)
    _check_members(schedule)


def _check_range(schedule: Schedule, moves: Moves) -> None:
    ranks, units = schedule.partition.ranks, schedule.partition.cut.count
    limits = {
        "round": (1, schedule.rounds),
        "source": (0, ranks - 1),
        "target": (0, ranks - 1),
        "unit": (0, units - 1),
    }
    for name, (low, high) in limits.items():
        values = getattr(moves, name)
        if len(values) and not low <= values.min() <= values.max() <= high:
            raise DistributedError(
                f"A move has {name} {values.min() if values.min() < low else values.max()}.",
                rule=f"It is {low} to {high} in this schedule.",
                fix=FIX,
            )


def _check_holders(partition: Partition, moves: Moves, needed: tuple[Array, Array, Array]) -> None:
    """Check sources and targets of moves, and what tasks need: (rank, unit, round by which it must be there)."""
    owner, count = partition.owner, partition.cut.count
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


def _needs(lane: Lane, side: str) -> tuple[Array, Array, Array]:
    """Return (rank, unit, round) of what the tasks of a lane read."""
    units = [getattr(task, side) for task in lane.tasks]
    lengths = [len(each) for each in units]
    rank = np.repeat(np.array([task.rank for task in lane.tasks], np.int64), lengths)
    by = np.repeat(np.array([task.round for task in lane.tasks], np.int64), lengths)
    return rank, np.concatenate([np.empty(0, np.int64), *units]), by


def _check_members(schedule: Schedule) -> None:
    """Check that no head of a batch entry is in two lanes."""
    pairs = [(int(b), int(h)) for lane in schedule.lanes if lane.members is not None for b, h in lane.members]
    twice = [pair for pair, number in Counter(pairs).items() if number > 1]
    whole = len(schedule.lanes) > 1 and any(lane.members is None for lane in schedule.lanes)
    if twice or whole:
        what = f"Batch entry {twice[0][0]} with key head {twice[0][1]} is" if twice else "All that one of them has are"
        raise DistributedError(
            f"{what} in two lanes.", rule="Lanes part the heads of batch entries among them.", fix=FIX
        )
