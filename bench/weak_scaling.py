"""Weak scaling by simulation, 16,384 tokens a device, up to 16 M tokens on 1,024 H100, and its chart:

python bench/weak_scaling.py

writes docs/weak_scaling.png.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import scaling

import attncc
from attncc import Condition, Index
from attncc.backends.inputs import Inputs
from attncc.distributed import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.scenario import Candidate, Scenario
from attncc.distributed.topology import Topology

CHART = Path(__file__).parent.parent / "docs" / "weak_scaling.png"
TOPOLOGY, DEVICES, SHARE = "1024xh100", (1, 8, 64, 256, 1024), 16384
INPUTS = Inputs(batch=1, heads=32, kv_heads=8, head_dim=128, value_dim=128, dtype="bf16")
#: Nodes that a rank sends a unit to in a round: of 128 nodes, 11 and then the others, while own keys are computed.
FANOUT, UNIT = 11, 64


@attncc.pattern
def sinks(i: Index, j: Index, *, window: int = 256, sinks: int = 4) -> Condition:
    """The last `window` positions and the first `sinks` (Xiao et al. 2023, section 3)."""
    return (j <= i) & ((i - j < window) | (j < sinks))


@dataclass(frozen=True)
class Point:
    """A number of devices, and the seconds of each direction."""

    devices: int
    seconds: dict[str, float]


def points(sinks_count: int) -> Iterator[Point]:
    """Yield the seconds of each number of devices, for a number of sinks."""
    whole = Topology.load(TOPOLOGY)
    for devices in DEVICES:
        scenario = Scenario(sinks(sinks=sinks_count), SHARE * devices, INPUTS, whole.subset(devices))
        best = fastest(scenario, devices)
        yield Point(devices, {way: timeline.seconds for way, timeline in best.timelines.items()})


def fastest(scenario: Scenario, devices: int) -> Candidate:
    """Return the faster of a direct exchange, and a tree that is as flat as it may be while its root still computes."""
    ways = [Settings(unit=UNIT, route="tree", fanout=FANOUT)]
    ways += [Settings(unit=UNIT), Settings(unit=UNIT, stages=0)] if devices <= FANOUT else []
    return min((scenario.candidate(each, Sharing(parts=devices)) for each in ways), key=lambda each: each.seconds)


def efficiency(found: list[Point], ways: tuple[str, ...]) -> list[tuple[int, float]]:
    """Return (devices, seconds of one device over theirs), of some directions together."""
    total = [sum(point.seconds[way] for way in ways) for point in found]
    return [(point.devices, total[0] / each) for point, each in zip(found, total, strict=True)]


def draw(found: dict[int, list[Point]]) -> None:
    """Write the chart of the points by number of sinks."""
    curves = {}
    for count, each in found.items():
        curves[f"{count} sinks, forward"] = efficiency(each, ("forward",))
        curves[f"{count} sinks, forward and backward"] = efficiency(each, ("forward", "backward"))
    title = "256-window and sinks on H100, 16,384 tokens a device (simulated)"
    scaling.save(curves, title, CHART, bar=0.9)


if __name__ == "__main__":
    draw({count: list(points(count)) for count in (4, 64)})
