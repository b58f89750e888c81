"""Simulation: the seconds that flows and steps take on a topology that needn't be here.

The model. A message takes the `alpha` of each link on its path; the bytes of all messages of a round add up in each
channel (a direction of a link, both of a half-duplex one, or a shared medium), which passes `beta` of them a second. A
message first takes latencies: the most that one of its ends spends in the round, on what it sends or on what it gets.
Then it takes what the busiest channel of its path takes. Each rank has a clock of its own: see timeline.py. Where the
topology's rounds are synchronous, no rank of a group leaves a round before all of it have come to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.traffic import Flow, Superstep
from attncc.distributed.simulation.messages import Messages
from attncc.distributed.simulation.timeline import Timeline, timeline
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.ir.tables import Array
from attncc.planner import cost
from attncc.planner.passes import Group
from attncc.planner.plan import Plan
from attncc.targets import Target

#: Floating-point operations of a backward over those of the forward: five matrix products for two.
BACKWARD = 2.5
_FACTOR = {"forward": 1.0, "backward": BACKWARD}

#: What ranks of a sequence group do, and the device number of each, int64 (ranks,).
Placed = tuple[Sequence[Superstep], Array]


def makespan(
    groups: Sequence[Placed], topology: Topology, seconds_per_pair: Mapping[str, float], launch: Mapping[str, float]
) -> Timeline:
    """Return the timeline of sequence groups that run side by side and share links.

    Groups may have different numbers of steps. Raises TopologyError if a device isn't there, or has two ranks.

    Args:
        seconds_per_pair: By target, for the whole of it: a device with a `share` of its target takes longer.
        launch: Seconds a task takes whatever its size, by target.
    """
    _check(groups, topology)
    pair, task = _rates(topology, seconds_per_pair, launch)
    count = max((len(steps) for steps, _ in groups), default=0)
    compute, rounds = np.zeros((count, topology.count)), list[Messages]()
    before: tuple[Flow, Array] | None = None
    for number in range(count):
        now = [(steps[number], devices) for steps, devices in groups if number < len(steps)]
        for step, devices in now:
            compute[number, devices] = step.work * pair[devices] + step.tasks * task[devices]
        flow = Flow.together(step.flow.among(devices) for step, devices in now)
        group = _groups(now, topology)
        again = before is not None and flow.same(before[0]) and np.array_equal(group, before[1])  # as in most of a ring
        rounds.append(rounds[-1] if again else Messages.of(flow, topology, group if topology.is_synchronous else None))
        before = flow, group
    return timeline(compute, rounds, topology)


def pair_seconds(plan: Plan, inputs: Inputs, pairs: float, target: Target, direction: str) -> float:
    """Return the seconds of one of `pairs` connected pairs of a pattern on a device, without launches of its passes.

    The cost model's time of the whole plan, with its layouts, masks and partly empty tiles, is divided by the pairs.
    These are counted as they are where work is divided. The model is for a head of 64; everything is scaled to the
    head_dim and value_dim of the inputs, although predicates cost the same whatever they are. Rates are for what the
    target's file says: 16-bit inputs on a GPU, float32 on a CPU; other types are taken to be as fast. A backward is
    BACKWARD times a forward.
    """
    if not pairs:
        return 0.0
    heads = inputs.batch * inputs.heads
    for size in plan.mask_shape[:-2]:
        heads //= size
    whole = sum(_seconds(group, target) * plan.members(group) * heads for group in plan.groups)
    width = (inputs.head_dim + inputs.value_dim) / (2 * cost.HEAD_DIM)
    return whole / pairs * width * _FACTOR[direction]


def pair_costs(plan: Plan, inputs: Inputs, pairs: float, topology: Topology, direction: str) -> dict[str, float]:
    """Return `pair_seconds` for each target of a topology."""
    return {name: pair_seconds(plan, inputs, pairs, targets.target(name), direction) for name in topology.targets}


def launches(topology: Topology) -> dict[str, float]:
    """Return the seconds that a task takes whatever its size, for each target of a topology."""
    return {name: targets.target(name).launch for name in topology.targets}


def _seconds(group: Group, target: Target) -> float:
    """Return the predicted seconds of one head of a group, without launches."""
    return sum(
        cost.exact_seconds(work, target, merges=number > 0) - target.launch for number, work in enumerate(group.passes)
    )


def _rates(
    topology: Topology, seconds_per_pair: Mapping[str, float], launch: Mapping[str, float]
) -> tuple[Array, Array]:
    """Return the seconds of a pair and of a task on each device."""
    pair = np.array([seconds_per_pair[device.target] / device.share for device in topology.devices])
    return pair, np.array([launch[device.target] for device in topology.devices])


def _groups(now: Sequence[tuple[Superstep, Array]], topology: Topology) -> Array:
    """Return the number of each device's group, int64 (devices,); those without a rank are in one of their own."""
    found, count = np.zeros(topology.count, np.int64), 1
    for step, devices in now:
        within = np.zeros(len(devices), np.int64) if step.group is None else step.group
        found[devices] = count + within
        count += int(within.max(initial=-1)) + 1
    return found


def _check(groups: Sequence[Placed], topology: Topology) -> None:
    for steps, devices in groups:
        wrong = [step for step in steps if len(step.work) != len(devices)]
        if wrong:
            raise TopologyError(
                f"{len(wrong[0].work)} ranks on {len(devices)} devices.",
                rule="Each rank of a group has a device.",
                fix="Name as many devices as ranks.",
            )
    used = np.concatenate([np.empty(0, np.int64), *(devices for _, devices in groups)])
    if len(used) and not (used.min() >= 0 and used.max() < topology.count):
        raise TopologyError(
            f"Device {used.max() if used.max() >= topology.count else used.min()} of topology {topology.name!r}.",
            rule=f"It has {topology.count} devices, numbered from 0.",
            fix="Place ranks on these, or take a larger topology.",
        )
    twice = np.flatnonzero(np.bincount(used, minlength=1) > 1)
    if len(twice):
        raise TopologyError(
            f"Device {twice[0]} has two ranks.",
            rule="A device has one rank at most.",
            fix="Place one of them on a device of its own.",
        )
