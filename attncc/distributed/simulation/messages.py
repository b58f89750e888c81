"""Messages of a round: what each takes on the links that it shares with the others, and when it arrives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attncc.distributed.schedules.traffic import Flow
from attncc.distributed.topology import Topology
from attncc.ir.tables import Array

#: Which things that are shared some users need, and when these begin.
Use = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Messages:
    """The messages of a round between devices: each goes from `source` to `target`, int64 (M,).

    Attributes:
        seconds: Of each by itself, float64 (M,): the latencies of all messages of its busier end, and the bytes of the
            round on the busiest link of its path.
        hops: (messages, channels that they cross), together all paths.
        load: The seconds that the round takes on each channel, float64 (channels,).
        meeting: The number of the group with all of which each device waits, -1 for none, int64 (devices,).
    """

    source: Array
    target: Array
    seconds: Array
    hops: tuple[tuple[Array, Array], ...]
    load: Array
    meeting: Array

    @classmethod
    def of(cls, flow: Flow, topology: Topology, group: Array | None = None) -> Messages:
        """Return the messages of a flow between devices; what a device sends itself is none.

        Args:
            group: Of each device, int64 (devices,), where it waits for all of its group if any of it sends something.
        """
        moved = (flow.bytes > 0) & (flow.source != flow.target)
        source, target, sizes = flow.source[moved], flow.target[moved], flow.bytes[moved]
        network = topology.network
        latency, transfer, load = np.zeros(len(sizes)), np.zeros(len(sizes)), np.zeros(len(network.beta))
        hops = []
        for crossing, arcs in network.hops(topology.vertex[source], topology.vertex[target]):
            latency[crossing] += network.alpha[arcs]
            channels = network.channel[arcs]
            load += np.bincount(channels, sizes[crossing], len(load))
            hops.append((crossing, channels))
        load /= network.beta
        for crossing, channels in hops:
            transfer[crossing] = np.maximum(transfer[crossing], load[channels])
        meeting = np.full(topology.count, -1)
        if group is not None:
            meeting = np.where(np.isin(group, group[source]), group, -1)
        sent, received = (np.bincount(end, latency, topology.count) for end in (source, target))
        return cls(source, target, np.maximum(sent[source], received[target]) + transfer, tuple(hops), load, meeting)

    def of_devices(self, values: Array, start: Array) -> Array:
        """Return for each device the largest of its `start` (devices,) and of the `values` (M,) of its messages."""
        found = start.copy()
        for end in (self.source, self.target):
            np.maximum.at(found, end, values)
        return found

    def landed(self, arrival: Array, posted: Array) -> Array:
        """Return when each device has all that it sends and gets, which came at `arrival` (M,), float64 (devices,).

        Where its group meets, that is no sooner than the last of it has `posted`, float64 (devices,), the round.
        """
        found, meets = self.of_devices(arrival, posted), np.flatnonzero(self.meeting >= 0)
        last = np.zeros(int(self.meeting.max(initial=-1)) + 1)
        np.maximum.at(last, self.meeting[meets], posted[meets])
        found[meets] = np.maximum(found[meets], last[self.meeting[meets]])
        return found

    def sent(self, posted: Array, free: Array) -> tuple[Array, Array]:
        """Return when each message arrives, and when each channel is free again.

        A message sets off when both of its ends have come, and all of its channels are free.

        Args:
            posted: When each device comes to the round, float64 (devices,).
            free: When the channels have carried the rounds before.
        """
        begin = np.maximum(posted[self.source], posted[self.target])
        for crossing, channels in self.hops:
            begin[crossing] = np.maximum(begin[crossing], free[channels])
        uses = ((channels, begin[crossing]) for crossing, channels in self.hops)
        return begin + self.seconds, free_again(free, uses, self.load)


def free_again(free: Array, uses: Iterable[Use], load: Array) -> Array:
    """Return when things that serve one round after another are free again: `load` seconds after their last user."""
    last = free.copy()
    for which, begin in uses:
        np.maximum.at(last, which, begin)
    return last + load


def flow_seconds(flow: Flow, topology: Topology, placement: Array | None = None) -> float:
    """Return the seconds of a round that all begin together.

    Args:
        placement: The device number of each rank, int64 (ranks,), else its own.
    """
    if placement is not None:
        flow = flow.among(placement)
    return float(Messages.of(flow, topology).seconds.max(initial=0.0))
