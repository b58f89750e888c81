"""Tasks of a schedule must compute every connected pair once; errors name the units and ranks."""

from __future__ import annotations

from dataclasses import replace

import by_hand
import numpy as np
import pytest
from distributed_patterns import patterns

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import HeadClassSchedule, Schedule, Task
from attncc.distributed.schedules.validation import check_covers

N, RANKS = 61, 4
INPUTS = Inputs(2, 4, 2, 16, 16, "fp32")
SIZES = {"heads": 4, "kv_heads": 2, "batch": 2}


def problem(pattern: attncc.Pattern) -> PartitioningProblem:
    return PartitioningProblem(pattern, N, RANKS, INPUTS)


def with_tasks(schedule: Schedule, tasks: list[Task], number: int = 0) -> Schedule:
    head_classes = list(schedule.head_classes)
    head_classes[number] = replace(head_classes[number], tasks=tuple(tasks))
    return replace(schedule, head_classes=tuple(head_classes))


@pytest.mark.parametrize("kind", ["scattered", "moved"])
@pytest.mark.parametrize("name", sorted(patterns(N)))
def test_exact_schedules_pass(name: str, kind: str) -> None:
    """In a moved order the adjacency lists unconnected pairs too, which needn't be computed."""
    pattern = patterns(N)[name]
    made = by_hand.schedule(pattern, by_hand.partition(kind, N, 4, RANKS), **SIZES, style="mixed")
    check_covers(made, problem(pattern))


@pytest.mark.parametrize("name", ["causal", "random", "buckets", "mix"])
def test_missing_pairs_are_named(name: str) -> None:
    pattern = patterns(N)[name]
    made = by_hand.schedule(pattern, by_hand.partition("scattered", N, 4, RANKS), **SIZES, style="pull")
    for number, head_class in enumerate(made.head_classes):
        for at, task in enumerate(head_class.tasks):
            fewer = [*head_class.tasks[:at], replace(task, keys=task.keys[1:]), *head_class.tasks[at + 1 :]]
            owner, (query, key) = made.partition.owner, (task.queries[0], task.keys[0])
            told = f"No rank computes .* unit {query}, of rank {owner[query]}, .* unit {key}, of rank {owner[key]} "
            with pytest.raises(attncc.DistributedError, match=told + rf"\(head class {number}"):
                check_covers(with_tasks(made, fewer, number), problem(pattern))


def test_repeated_pairs_are_named() -> None:
    """One rank owns the queries, another has the keys."""
    made = by_hand.schedule(attncc.load("causal"), by_hand.partition("contiguous", N, 4, RANKS), style="pull")
    head_class = made.head_classes[0]
    own = [task for task in head_class.tasks if task.rank == 1]
    again = replace(own[-1], rank=3, queries=own[-1].queries[-1:], keys=own[-1].keys[:1])
    query, key = again.queries[0], again.keys[0]
    with pytest.raises(attncc.DistributedError, match=f"Ranks 1, 3 each compute .* unit {query}, .* unit {key}, "):
        check_covers(with_tasks(made, [*head_class.tasks, again]), problem(attncc.load("causal")))


def test_unconnected_pairs_may_be_computed_twice() -> None:
    made = by_hand.schedule(attncc.load("causal"), by_hand.partition("contiguous", N, 4, RANKS), style="pull")
    idle = Task(0, 0, np.array([0]), np.array([1]), 0.0)
    check_covers(with_tasks(made, [idle, idle, *made.head_classes[0].tasks]), problem(attncc.load("causal")))


def test_heads_in_no_class_are_named() -> None:
    pattern, inputs = patterns(N)["mix"], replace(INPUTS, kv_heads=4)
    made = by_hand.schedule(pattern, by_hand.partition("striped", N, 4, RANKS), heads=4, kv_heads=4, batch=2)
    of_four = PartitioningProblem(pattern, N, RANKS, inputs)

    def changed(change) -> Schedule:
        return replace(
            made,
            head_classes=tuple(
                HeadClassSchedule(change(x.members), x.keys, x.queries, x.tasks) for x in made.head_classes
            ),
        )

    with pytest.raises(attncc.DistributedError, match="Key head 1 of batch entry 0 is in no head class"):
        check_covers(changed(lambda members: members[members[:, 1] != 1]), of_four)
    with pytest.raises(attncc.DistributedError, match="There are 2 batch entries and 4 key heads"):
        check_covers(changed(lambda members: members + 1), of_four)
