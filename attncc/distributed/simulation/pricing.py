"""Pricing: the seconds of each task by itself, as its backend predicts them for the plan that it will run.

Dividing one prediction among the pairs says nothing of rows that are scattered, of tiles that a small task fills
badly, or of a layout that a task can't use any more. Planning every task says it, and takes milliseconds for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attncc import backends, targets
from attncc.backends.base import Backend
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.place import Place, placed
from attncc.distributed.schedules.schedule import Lane, Schedule, Task
from attncc.distributed.schedules.sharing import steps
from attncc.distributed.schedules.traffic import members
from attncc.distributed.simulation.ranking import ranked
from attncc.distributed.simulation.scene import Candidate, Scene
from attncc.distributed.simulation.simulate import makespan
from attncc.frontend.patterns import Pattern
from attncc.ir.symbols import B, H
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape

#: Candidates whose tasks are priced, and the most tasks of all of them.
FINALISTS, MOST_TASKS = 8, 1024


def priced(scene: Scene, candidate: Candidate) -> Candidate:
    """Return a candidate with the timelines that its tasks have when each is planned for itself.

    They are planned for the first of the topology's targets. Raises what planning and predicting raise.
    """
    local = candidate.sharing.local(scene.inputs)
    devices, target = np.arange(candidate.sharing.ranks), scene.topology.targets[0]
    seconds, launch = dict.fromkeys(scene.topology.targets, 1.0), dict.fromkeys(scene.topology.targets, 0.0)
    plans = {task: _plan(scene, candidate.schedule, lane, task, local, target) for lane, task in _tasks(candidate)}
    timelines = {}
    for way in scene.directions:
        schedule = _with_prices(candidate.schedule, plans, local, target, way)
        found = steps(schedule, scene.inputs, candidate.sharing, way)
        timelines[way] = makespan([(found, devices)], scene.topology, seconds, launch)
    return replace(candidate, timelines=timelines)


def best(scene: Scene, tried: Sequence[Candidate]) -> Candidate:
    """Return the fastest of the first FINALISTS of `tried`, sorted as `choose` does, by what their tasks cost.

    Where they have more than MOST_TASKS, which would take long to plan, it is the first.
    """
    finalists = tried[:FINALISTS]
    if sum(len(_tasks(each)) for each in finalists) > MOST_TASKS:
        return tried[0]
    return ranked(finalists, lambda each: priced(scene, each).seconds)[0]


def _tasks(candidate: Candidate) -> list[tuple[Lane, Task]]:
    return [(lane, task) for lane in candidate.schedule.lanes for task in lane.tasks]


def _with_prices(schedule: Schedule, plans: dict[Task, Plan], local: Inputs, target: str, direction: str) -> Schedule:
    """Return the schedule whose tasks have seconds for their work, those of a member as `work` is."""
    backend = _backend(target)
    lanes = []
    for lane in schedule.lanes:
        sizes, count = _sizes(lane, local), members(lane, local)
        predicted = (
            backend.predict(plans[task], sizes, direction, {}, targets.target(target)) / count for task in lane.tasks
        )
        tasks = (replace(task, work=seconds) for task, seconds in zip(lane.tasks, predicted, strict=True))
        lanes.append(replace(lane, tasks=tuple(tasks)))
    return replace(schedule, lanes=tuple(lanes))


def _backend(target: str) -> Backend:
    """Return the backend that a target's devices prefer."""
    return backends.known(backends.preferred_for(targets.target(target)))


def _sizes(lane: Lane, local: Inputs) -> Inputs:
    """Return the sizes of a lane's tensors: its members are as batch entries of one key head."""
    if lane.members is None:
        return local
    return replace(local, batch=len(lane.members), heads=local.group, kv_heads=1)


def _plan(scene: Scene, schedule: Schedule, lane: Lane, task: Task, local: Inputs, target: str) -> Plan:
    """Return the plan of a task, as the rank that has it will make it."""
    cut = schedule.partition.cut
    queries, keys = cut.tokens(task.queries), cut.tokens(task.keys)
    pattern = _placed(scene, lane, Place(queries, keys, scene.length))
    free, sizes = pattern.predicate.free, _sizes(lane, local)
    shape = Shape(len(queries), len(keys), 0, sizes.heads if H in free else 1, sizes.batch if B in free else 1)
    return plan_for(pattern, shape, _backend(target).tile, target)


def _placed(scene: Scene, lane: Lane, place: Place) -> Pattern:
    if lane.members is None:
        return placed(scene.pattern, place)
    entry, head = lane.members[0]
    heads = head * scene.inputs.group + np.arange(scene.inputs.group)
    return placed(scene.pattern, replace(place, heads=heads, entries=np.array([entry])))
