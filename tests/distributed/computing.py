"""The pairs that a schedule computes, and whether ranks have received what they need."""

from __future__ import annotations

import numpy as np

from attncc.distributed.schedules.schedule import HeadClassSchedule, Schedule


def arrival(schedule: Schedule, moves, unit_owner):
    """The round after which each rank has each unit, (ranks, units); -1 for never. Fails if a source lacks it."""
    ranks = schedule.partition.ranks
    have = np.full((ranks, len(unit_owner)), -1)
    have[unit_owner, np.arange(len(unit_owner))] = 0
    for round_, source, target, unit in zip(moves.round, moves.source, moves.target, moves.unit, strict=True):
        assert 0 <= have[source, unit] < round_, "sent by a rank that hasn't got it"
        assert have[target, unit] == -1, "reaches a rank twice"
        have[target, unit] = round_
    return have


def computed(schedule: Schedule, head_class: HeadClassSchedule):
    """How often each pair of tokens is computed, (length, length)."""
    chunking, owner = schedule.partition.chunking, schedule.partition.owner
    keys, queries = (arrival(schedule, moves, owner) for moves in (head_class.keys, head_class.queries))
    found = np.zeros((chunking.length, chunking.length), np.int64)
    for task in head_class.tasks:
        assert (keys[task.rank, task.keys] >= 0).all()
        assert (keys[task.rank, task.keys] <= task.round).all()
        assert (queries[task.rank, task.queries] >= 0).all()
        assert (queries[task.rank, task.queries] <= task.round).all()
        found[np.ix_(chunking.tokens(task.queries), chunking.tokens(task.keys))] += 1
    return found
