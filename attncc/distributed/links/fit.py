"""Links: what was measured between the processes of a host, as a topology that simulates it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attncc import targets
from attncc.distributed.schedules.traffic import Flow
from attncc.distributed.simulation.messages import flow_seconds
from attncc.distributed.topology import Topology

#: The target whose rates a process has a share of.
TARGET = "cpu"
#: Who sends to whom: one process to another, each to the next, each to every other.
PATTERNS = ("pair", "ring", "all")
SIZES = (64, 1 << 18, 1 << 23)


def sends(pattern: str, source: int, target: int, processes: int) -> bool:
    """Return whether a process sends to another in a pattern."""
    if pattern == "pair":
        return (source, target) == (0, 1)
    return target == (source + 1) % processes if pattern == "ring" else source != target


def flow(pattern: str, size: int, processes: int) -> Flow:
    """Return the flow of an exchange in which each message has `size` bytes."""
    pairs = [(s, t) for s in range(processes) for t in range(processes) if sends(pattern, s, t, processes)]
    source, target = np.array(pairs, np.int64).T
    return Flow(source, target, np.full(len(pairs), size, np.int64))


@dataclass(frozen=True)
class Exchanged:
    """Seconds that exchanges of messages of `size` bytes took, each until its slowest process had done."""

    pattern: str
    size: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Links:
    """What was measured. alone, together: FLOP/s of one process by itself, and of each when all compute at once."""

    processes: int
    threads: int
    exchanged: tuple[Exchanged, ...]
    alone: float
    together: float

    @property
    def alpha(self) -> float:
        """Seconds a message and link: of the small ones, on a path of two links, by the most that one rank sends."""
        small = [each for each in self.exchanged if each.size == SIZES[0]]
        messages = [self.processes - 1 if each.pattern == "all" else 1 for each in small]
        return statistics.geometric_mean(
            [each.median / (2 * number) for each, number in zip(small, messages, strict=True)]
        )

    @property
    def beta(self) -> float:
        """Bytes a second from one process to another."""
        return self._rate("pair")

    @property
    def copies(self) -> float:
        """Bytes a second of all processes together, when each sends to every other."""
        return self._rate("all")

    @property
    def share(self) -> float:
        """The part of the target's rate that a process has by itself; at most all of it, as topologies want it."""
        return min(1.0, self.alone / targets.target(TARGET).flops)

    @property
    def cores(self) -> float:
        """How many processes compute at full speed at once."""
        return self.processes * min(1.0, self.together / self.alone)

    def _rate(self, pattern: str) -> float:
        """Return the rate of a pattern's largest messages, without what the same exchange takes with small ones."""
        (small,), (large,) = (
            [each.median for each in self.exchanged if (each.pattern, each.size) == (pattern, size)]
            for size in (SIZES[0], SIZES[-1])
        )
        return flow(pattern, SIZES[-1], self.processes).total / max(large - small, 1e-9)

    def predicted(self) -> list[float]:
        """Return the seconds that the topology makes of each exchange."""
        topology = topology_of(self)
        return [flow_seconds(flow(each.pattern, each.size, self.processes), topology) for each in self.exchanged]

    def describe(self) -> dict[str, object]:
        """Return it as JSON-able data, in seconds, bytes and FLOP/s."""
        rows = [
            {"pattern": each.pattern, "bytes": each.size, "median_s": each.median, "predicted_s": seconds}
            for each, seconds in zip(self.exchanged, self.predicted(), strict=True)
        ]
        names = ("processes", "threads", "alpha", "beta", "copies", "alone", "together", "share", "cores")
        return {name: getattr(self, name) for name in names} | {"exchanges": rows}


def topology_of(links: Links) -> Topology:
    """Return the topology of what was measured."""
    return Topology.parse(toml(links, ()), name="measured")


def toml(links: Links, remarks: Sequence[str]) -> str:
    """Return the topology as the text of a file, with remarks at its head."""
    title = f"{links.processes} gloo processes of {links.threads} threads on one host"
    return "\n".join(
        [
            f"title = {json.dumps(title)}",
            'rounds = "synchronous"',
            *(f"# {remark}" for remark in remarks),
            "# From one process to another, on a path of two of these links.",
            "[links.socket]",
            f"alpha = {links.alpha:.3e}",
            f"beta = {links.beta:.3e}",
            "# Of all processes together: copies between sockets share memory and cores.",
            "[links.copies]",
            "alpha = 0.0",
            f"beta = {links.copies:.3e}",
            "shared = true",
            f"# Dense attention: {links.alone:.2e} FLOP/s of a process alone, {links.together:.2e} of each at once.",
            "[[nodes]]",
            f'devices = {{ name = "process", count = {links.processes}, target = "{TARGET}", '
            f"share = {links.share:.3f} }}",
            f"cores = {links.cores:.2f}",
            f"switches = {{ port = {links.processes}, host = 1 }}",
            'connections = [["process", "port", "socket"], ["port", "host", "copies"]]',
            "",
        ]
    )
