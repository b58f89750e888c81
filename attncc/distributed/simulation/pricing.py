"""Pricing: the seconds of each task by itself, as its backend predicts them for the plan that it will run.

Dividing one prediction among the pairs says nothing of scattered rows, or of tiles that a small task fills badly. Nor
does it say that a task can't use some layout any more. Planning every task says it, and takes milliseconds for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncc import backends, targets
from attncc.backends.base import Backend
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.restriction import Restriction, restricted
from attncc.distributed.schedules.schedule import HeadClassSchedule, Schedule, Task
from attncc.distributed.schedules.sharing import steps
from attncc.distributed.simulation.ranking import ranked
from attncc.distributed.simulation.scenario import Candidate, Scenario
from attncc.distributed.simulation.simulate import makespan
from attncc.frontend.patterns import Pattern
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape

#: Candidates whose tasks are priced, and the most tasks of all of them.
FINALISTS, MOST_TASKS = 8, 1024


def priced(scenario: Scenario, candidate: Candidate) -> Candidate:
    """Return a candidate with the timelines that its tasks have when each is planned for itself.

    They are planned for the first of the topology's targets. Raises what planning and predicting raise.
    """
    local = candidate.sharing.local(scenario.inputs)
    devices, target = np.arange(candidate.sharing.ranks), scenario.topology.targets[0]
    seconds, launch = dict.fromkeys(scenario.topology.targets, 1.0), dict.fromkeys(scenario.topology.targets, 0.0)
    plans = {
        task: _plan(scenario, candidate.schedule, head_class, task, local, target)
        for head_class, task in _tasks(candidate)
    }
    timelines = {}
    for direction in scenario.directions:
        schedule = _with_prices(candidate.schedule, plans, local, target, direction)
        found = steps(schedule, scenario.inputs, candidate.sharing, direction)
        timelines[direction] = makespan([(found, devices)], scenario.topology, seconds, launch)
    return replace(candidate, timelines=timelines)


def best(scenario: Scenario, tried: Sequence[Candidate]) -> Candidate:
    """Return the fastest of the first FINALISTS of `tried`, sorted as `choose` does, by what their tasks cost.

    Where they have more than MOST_TASKS, which would take long to plan, it is the first.
    """
    finalists = tried[:FINALISTS]
    if sum(len(_tasks(each)) for each in finalists) > MOST_TASKS:
        return tried[0]
    return ranked(finalists, lambda each: priced(scenario, each).seconds)[0]


def _tasks(candidate: Candidate) -> list[tuple[HeadClassSchedule, Task]]:
    return [(head_class, task) for head_class in candidate.schedule.head_classes for task in head_class.tasks]


def _with_prices(schedule: Schedule, plans: dict[Task, Plan], local: Inputs, target: str, direction: str) -> Schedule:
    """Return the schedule whose tasks have seconds for their work, those of a member as `work` is."""
    backend = _backend(target)
    head_classes = []
    for head_class in schedule.head_classes:
        sizes, count = _sizes(head_class, local), head_class.size(local)
        predicted = (
            backend.predict(plans[task], sizes, direction, {}, targets.target(target)) / count
            for task in head_class.tasks
        )
        tasks = (replace(task, work=seconds) for task, seconds in zip(head_class.tasks, predicted, strict=True))
        head_classes.append(replace(head_class, tasks=tuple(tasks)))
    return replace(schedule, head_classes=tuple(head_classes))


def _backend(target: str) -> Backend:
    """Return the backend that a target's devices prefer."""
    return backends.known(backends.preferred_for(targets.target(target)))


def _sizes(head_class: HeadClassSchedule, local: Inputs) -> Inputs:
    """Return the sizes of a head class's tensors: its members are as batch entries of one key head."""
    if head_class.members is None:
        return local
    return replace(local, batch=len(head_class.members), heads=local.group, kv_heads=1)


def _plan(
    scenario: Scenario, schedule: Schedule, head_class: HeadClassSchedule, task: Task, local: Inputs, target: str
) -> Plan:
    """Return the plan of a task, as the rank that has it will make it."""
    partition = schedule.partition
    queries, keys = partition.chunking.tokens(task.queries), head_class.key_tokens(partition, task.rank, task.keys)
    pattern = _restricted(scenario, head_class, Restriction(queries, keys, scenario.length))
    sizes = _sizes(head_class, local)
    shape = Shape(len(queries), len(keys), 0, sizes.heads, sizes.batch).narrowed(pattern.free)
    return plan_for(pattern, shape, _backend(target).tile, target)


def _restricted(scenario: Scenario, head_class: HeadClassSchedule, restriction: Restriction) -> Pattern:
    if head_class.members is None:
        return restricted(scenario.pattern, restriction)
    entry, head = head_class.members[0]
    heads = head * scenario.inputs.group + np.arange(scenario.inputs.group)
    return restricted(scenario.pattern, replace(restriction, heads=heads, entries=np.array([entry])))
