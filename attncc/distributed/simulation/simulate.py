"""Simulation: the seconds that flows and steps take on a topology that needn't be here.

The model. A message takes the `alpha` of each link on its path; the bytes of all messages of a round add up in each
channel (a direction of a link, both of a half-duplex one, or a shared medium), which passes `beta` of them a second.
A round takes the most that any rank spends on latencies of what it sends, or of what it receives, and then what the
busiest channel takes. All ranks begin a step together: it takes its computing or its round, whichever is longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.traffic import Flow, Step, nothing
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.ir.tables import Array
from attncc.planner import cost
from attncc.planner.plan import Group, Plan
from attncc.targets import Target

#: Floating-point operations of a backward over those of the forward: five matrix products for two.
BACKWARD = 2.5
_FACTOR = {"forward": 1.0, "backward": BACKWARD}

#: What ranks of a sequence group do, and the device number of each, int64 (ranks,).
Placed = tuple[Sequence[Step], Array]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The steps of a run, in seconds.

    compute: of each device by itself, float64 (steps, devices); computing: of the step, with pools of cores taken into
    account, float64 (steps,); communicating: of its round, float64 (steps,).
    """

    compute: Array
    computing: Array
    communicating: Array

    @property
    def seconds(self) -> float:
        """The makespan."""
        return float(np.maximum(self.computing, self.communicating).sum())

    @property
    def exposed(self) -> float:
        """Communication that no computing hides."""
        return float(np.maximum(self.communicating - self.computing, 0.0).sum())

    @property
    def busy(self) -> Array:
        """Seconds that each device computes in each step, longer where it shares cores, float64 (steps, devices)."""
        slowest = self.compute.max(axis=1, initial=0.0)
        slowed = np.divide(self.computing, slowest, out=np.ones_like(slowest), where=slowest > 0)
        busy: Array = self.compute * slowed[:, None]
        return busy

    @property
    def starts(self) -> Array:
        """When each step begins, float64 (steps,)."""
        ends = np.cumsum(np.maximum(self.computing, self.communicating))
        return np.concatenate([[0.0], ends[:-1]])[: len(ends)]


def flow_seconds(flow: Flow, topology: Topology, placement: Array | None = None) -> float:
    """Return the seconds of a round; `placement` is the device number of each rank, int64 (ranks,), else its own."""
    if placement is not None:
        flow = Flow(placement[flow.source], placement[flow.target], flow.bytes)
    moved = (flow.bytes > 0) & (flow.source != flow.target)
    source, target, sizes = flow.source[moved], flow.target[moved], flow.bytes[moved]
    if not len(sizes):
        return 0.0
    network = topology.network
    latency, load = np.zeros(len(sizes)), np.zeros(len(network.beta))
    for pairs, arcs in network.hops(topology.vertex[source], topology.vertex[target]):
        latency[pairs] += network.alpha[arcs]
        load += np.bincount(network.channel[arcs], sizes[pairs], len(load))
    busiest = max(float(np.bincount(end, latency).max()) for end in (source, target))
    return busiest + float((load / network.beta).max())


def makespan(
    groups: Sequence[Placed], topology: Topology, seconds_per_pair: Mapping[str, float], launch: Mapping[str, float]
) -> Timeline:
    """Return the timeline of sequence groups that run side by side and share links.

    seconds_per_pair: by target, for the whole of it: a device with a `share` of its target takes longer; launch:
    seconds a task takes whatever its size, by target. Groups may have different numbers of steps. Raises TopologyError
    if a device isn't there, or has two ranks.
    """
    _check(groups, topology)
    pair, task = _rates(topology, seconds_per_pair, launch)
    count = max((len(steps) for steps, _ in groups), default=0)
    compute, communicating = np.zeros((count, topology.count)), np.zeros(count)
    before = nothing()
    for number in range(count):
        now = [(steps[number], devices) for steps, devices in groups if number < len(steps)]
        for step, devices in now:
            compute[number, devices] = step.work * pair[devices] + step.tasks * task[devices]
        flow = _together(now)
        again = number > 0 and _same(flow, before)  # as most rounds of a ring
        communicating[number] = communicating[number - 1] if again else flow_seconds(flow, topology)
        before = flow
    return Timeline(compute, _phases(compute, topology), communicating)


def pair_seconds(plan: Plan, inputs: Inputs, pairs: float, target: Target, direction: str) -> float:
    """Return the seconds of one of `pairs` connected pairs of a pattern on a device, without launches of its passes.

    It is what the planner's cost model gives the whole plan (with its layouts, masks and tiles that are partly empty),
    over the pairs as they are counted where work is divided. The model is for a head of 64; everything is scaled to the
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


def _together(now: Sequence[tuple[Step, Array]]) -> Flow:
    """Return the flows of several groups as one between devices."""
    flows = [Flow(devices[step.flow.source], devices[step.flow.target], step.flow.bytes) for step, devices in now]
    return Flow(*(np.concatenate(parts) for parts in zip(*((f.source, f.target, f.bytes) for f in flows), strict=True)))


def _same(one: Flow, other: Flow) -> bool:
    columns = zip((one.source, one.target, one.bytes), (other.source, other.target, other.bytes), strict=True)
    return all(np.array_equal(a, b) for a, b in columns)


def _phases(compute: Array, topology: Topology) -> Array:
    """Return how long each step computes: as its slowest device, or longer where a node has fewer cores than work."""
    found: Array = compute.max(axis=1, initial=0.0)
    for node, cores in topology.cores.items():
        found = np.maximum(found, compute[:, topology.node == node].sum(axis=1) / cores)
    return found


def _check(groups: Sequence[Placed], topology: Topology) -> None:
    for steps, devices in groups:
        wrong = [step for step in steps if len(step.work) != len(devices)]
        if wrong:
            raise TopologyError(
                f"{len(wrong[0].work)} ranks on {len(devices)} devices.", rule="Each rank of a group has a device."
            )
    used = np.concatenate([np.empty(0, np.int64), *(devices for _, devices in groups)])
    if len(used) and not (used.min() >= 0 and used.max() < topology.count):
        raise TopologyError(
            f"Device {used.max() if used.max() >= topology.count else used.min()} of topology {topology.name!r}.",
            rule=f"It has {topology.count} devices, numbered from 0.",
        )
    twice = np.flatnonzero(np.bincount(used, minlength=1) > 1)
    if len(twice):
        raise TopologyError(f"Device {twice[0]} has two ranks.", rule="A device has one rank at most.")
