"""Patterns, inputs and schedules that test_distributed.py simulates and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.pricing import priced
from attncc.distributed.simulation.scenario import Candidate, Scenario
from attncc.distributed.topology import Topology

RANKS = 4
#: Inputs of the schedules that are run.
INPUTS = Inputs(1, 8, 8, 64, 64, "fp32")
#: Length and pattern of the schedules that are run, by name.
TIMED: Mapping[str, tuple[int, Callable[[int], attncc.Pattern]]] = {
    "causal": (4096, lambda length: attncc.load("causal")),
    "256-window": (32768, lambda length: attncc.load("sliding_window", window=256)),
    "strided": (16384, lambda length: attncc.load("strided", l=128).union()),
}
#: Settings that each of these is run with.
SETTINGS = (
    *(Settings(name) for name in ("contiguous", "balanced", "zigzag", "cyclic", "longest_first")),
    Settings("contiguous", stages=0),
    Settings("contiguous", stages=2),
    Settings("contiguous", stages=4),
    Settings("zigzag", stages=0),
    Settings("zigzag", stages=3),
    Settings("cyclic", stages=2),
    Settings("longest_first", stages=2),
    Settings("contiguous", route="ring"),
    Settings("cyclic", route="ring"),
    Settings("contiguous", unit=512),
    Settings("block_cyclic", unit=256),
    Settings("block_cyclic", unit=64),
    Settings("contiguous", spread=2),
    Settings("zigzag", spread=2),
    Settings("contiguous", spread=4),
)


@dataclass(frozen=True)
class Timed:
    """A schedule that is run: the name of its pattern in TIMED, and its settings."""

    name: str
    settings: Settings


CASES = tuple(Timed(name, settings) for name in TIMED for settings in SETTINGS)


def predicted(topology: Topology) -> list[Candidate]:
    """Return CASES in simulation, each task at the price of its own plan."""
    scenarios = {name: Scenario(pattern(length), length, INPUTS, topology) for name, (length, pattern) in TIMED.items()}
    found = []
    for each in CASES:
        spread = each.settings.spread
        scenario = scenarios[each.name]
        found.append(
            priced(scenario, scenario.candidate(each.settings, Sharing(parts=RANKS // spread, ulysses_degree=spread)))
        )
    return found
