"""Coverage: whether the tasks of a schedule compute every connected pair of units, for every head, once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.cut import Cut
from attncc.distributed.schedules.lanes import Alike
from attncc.distributed.schedules.problem import Problem
from attncc.distributed.schedules.schedule import Lane, Schedule
from attncc.errors import DistributedError
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import NK, NQ, I, J
from attncc.ir.tables import Array

#: Pairs of units that are counted, and pairs of tokens that are evaluated, at once.
AT_ONCE = 1 << 22


def check_covers(schedule: Schedule, problem: Problem) -> None:
    """Raise DistributedError unless the schedule, of this problem, computes each of its connected pairs once.

    Exact: what the adjacency lists but hasn't proved, and no task or more than one has, is evaluated by token.
    """
    lane_of = _lane_of(schedule, problem.inputs)
    for each, seen in zip(problem.classes, problem.adjacencies(schedule.partition.cut), strict=True):
        own = lane_of if each.members is None else lane_of[tuple(each.members.T)]
        for number in np.unique(own):
            _check_lane(schedule, int(number), each, seen)


def _lane_of(schedule: Schedule, inputs: Inputs) -> Array:
    """Return the number of the lane that each key head is in, int64 (batch, key heads)."""
    found = np.full((inputs.batch, inputs.kv_heads), -1)
    for number, lane in enumerate(schedule.lanes):
        members = np.argwhere(found < 0) if lane.members is None else lane.members
        if ((members < 0) | (members >= found.shape)).any():
            raise DistributedError(
                f"Lane {number} has batch entry and key head {members.max(0).tolist()}.",
                rule=f"There are {inputs.batch} batch entries and {inputs.kv_heads} key heads, from 0 on.",
                fix="Name those, or None for all that are in no other lane.",
            )
        found[tuple(members.T)] = number
    missing = np.argwhere(found < 0)
    if len(missing):
        entry, head = missing[0]
        raise DistributedError(
            f"Key head {head} of batch entry {entry} is in no lane.",
            rule="Every key head of every entry is in one.",
            fix="Add it to the lane of heads that see alike.",
        )
    return found


def _check_lane(schedule: Schedule, number: int, each: Alike, seen: Adjacency) -> None:
    lane, owner, cut = schedule.lanes[number], schedule.partition.owner, seen.cut
    for query, keys in _doubtful(lane, seen):
        key = _first_connected(each, cut, query, keys)
        if key is None:
            continue
        ranks = [task.rank for task in lane.tasks if query in task.queries and key in task.keys]
        who = f"Ranks {', '.join(map(str, ranks))} each compute" if ranks else "No rank computes"
        raise DistributedError(
            f"{who} the queries of unit {query}, of rank {owner[query]}, with the keys of unit {key}, of rank "
            f"{owner[key]} (lane {number}).",
            rule="Every pair of units that the pattern connects is computed once.",
            fix="Take the schedule of an attention for the same pattern: op.schedule.",
        )


def _doubtful(lane: Lane, seen: Adjacency) -> Iterator[tuple[int, Array]]:
    """Yield units of queries, and those of the keys listed for them that not exactly one task computes them with."""
    count = seen.cut.count
    every, step = np.arange(count), max(1, AT_ONCE // count)
    for first in range(0, count, step):
        rows = every[first : first + step]
        times = np.zeros((len(rows), count), np.int32)
        for task in lane.tasks:
            low, high = np.searchsorted(task.queries, [first, first + step])
            if low < high:
                times[(task.queries[low:high] - first)[:, None], task.keys] += 1
        wrong = seen.between(rows, every) & (times != 1)
        yield from ((first + int(row), np.flatnonzero(wrong[row])) for row in np.flatnonzero(wrong.any(1)))


def _first_connected(each: Alike, cut: Cut, query: int, keys: Array) -> int | None:
    """Return the first of the units `keys` that a query of unit `query` sees any key of."""
    queries, step = cut.tokens(np.array([query])), max(1, AT_ONCE // cut.size**2)
    for first in range(0, len(keys), step):
        positions = cut.tokens(keys[first : first + step])
        env = {I: queries[:, None], J: positions[None, :], NQ: cut.length, NK: cut.length}
        holds = [evaluate_predicate(predicate, env) for predicate, _ in each.predicates]
        reached = np.logical_or.reduce([np.broadcast_to(x, (len(queries), len(positions))) for x in holds]).any(0)
        if reached.any():
            return int(cut.unit_of[positions[reached]].min())
    return None
