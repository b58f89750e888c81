"""Timelines: when each device comes to each step, computes, and has what travels, by a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncc.distributed.simulation.messages import Messages, free_again
from attncc.distributed.topology import Topology
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Timeline:
    """The steps of a run on each device, in seconds, float64 (steps, devices).

    A step without tasks, or without messages, ends as it begins.

    Attributes:
        begins: When it comes to a step, and posts what it sends and expects.
        starts, computed: When its tasks start and end.
        landed: When all that it sends and gets has arrived.
        compute: Of its tasks by themselves.
        travelling: Of its longest message by itself.
    """

    begins: Array
    starts: Array
    computed: Array
    landed: Array
    compute: Array
    travelling: Array

    @property
    def ends(self) -> Array:
        """When each device goes on to its next step, float64 (steps, devices)."""
        ends: Array = np.maximum(self.computed, self.landed)
        return ends

    @property
    def seconds(self) -> float:
        """The makespan."""
        return float(self.ends[-1:].max(initial=0.0))

    @property
    def last(self) -> int:
        """The device that ends last; the first of them, and 0 where there are no steps."""
        return int(self.ends[-1].argmax()) if len(self.ends) else 0

    @property
    def exposed(self) -> float:
        """Seconds in which the device that ends last waits: for messages, or cores that others have."""
        return float(self.waiting[:, self.last].sum())

    @property
    def busy(self) -> Array:
        """Seconds that each device computes in each step, longer where it shares cores, float64 (steps, devices)."""
        busy: Array = self.computed - self.starts
        return busy

    @property
    def waiting(self) -> Array:
        """Seconds that each device waits in each step, float64 (steps, devices)."""
        waiting: Array = self.ends - self.begins - self.busy
        return waiting

    @property
    def lower_bound(self) -> float:
        """What the same work and the same bytes take at least, if all of the one hides behind the other."""
        return float(max(each.sum(axis=0).max(initial=0.0) for each in (self.busy, self.travelling)))


@dataclass(frozen=True, eq=False)
class Pools:
    """Cores that the devices of a node share, and what a step's tasks take of them.

    Attributes:
        members: Devices that share, int64 (M,), and `node` of each.
        load: The seconds that a step takes of all cores of a node, float64 (steps, nodes).
        busy: The seconds of each device, longer where its node has fewer cores than work.
    """

    members: Array
    node: Array
    load: Array
    busy: Array

    @classmethod
    def of(cls, compute: Array, topology: Topology) -> Pools:
        """Return the pools of a topology for tasks that take so long by themselves, float64 (steps, devices)."""
        busy, load = compute.copy(), np.zeros((len(compute), int(topology.node.max()) + 1))
        for node, cores in topology.cores.items():
            sharing = topology.node == node
            load[:, node] = compute[:, sharing].sum(axis=1) / cores
            longest = compute[:, sharing].max(axis=1)
            slower = np.divide(load[:, node], longest, out=np.ones_like(longest), where=load[:, node] > longest)
            busy[:, sharing] *= slower[:, None]
        members = np.flatnonzero(np.isin(topology.node, list(topology.cores)))
        return cls(members, topology.node[members], load, busy)

    def started(self, step: int, begin: Array, free: Array) -> tuple[Array, Array]:
        """Return when the tasks of a step start on devices that come to it at `begin`, and when pools are free again.

        Args:
            free: When the pools have served the steps before, float64 (nodes,).
        """
        works = self.busy[step, self.members] > 0
        members, node = self.members[works], self.node[works]
        start = begin.copy()
        start[members] = np.maximum(begin[members], free[node])
        return start, free_again(free, [(node, start[members])], self.load[step])


def timeline(compute: Array, rounds: Sequence[Messages], topology: Topology) -> Timeline:
    """Return what devices do whose tasks take so long by themselves, float64 (steps, devices), beside these rounds.

    A device comes to a step when it has ended the one before: it posts the messages of the step's round, computes the
    tasks, and waits until its messages, those that it sends too, have arrived; in synchronous rounds also until all of
    its group have come. Links and pools of cores serve one step after another. Times are sums and maxima of what
    messages take, so that faster links or fewer bytes delay nothing.
    """
    pools = Pools.of(compute, topology)
    begins, starts, computed, landed, travelling = (np.zeros_like(compute) for _ in range(5))
    clock, links, cores = np.zeros(topology.count), np.zeros(len(topology.network.beta)), np.zeros(pools.load.shape[1])
    for step, messages in enumerate(rounds):
        begins[step] = clock
        starts[step], cores = pools.started(step, clock, cores)
        computed[step] = starts[step] + pools.busy[step]
        arrival, links = messages.sent(clock, links)
        landed[step] = messages.landed(arrival, clock)
        travelling[step] = messages.of_devices(messages.seconds, travelling[step])
        clock = np.maximum(computed[step], landed[step])
    return Timeline(begins, starts, computed, landed, compute, travelling)
