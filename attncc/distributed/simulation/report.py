"""Reports: the schedule chosen for a scene, its figures, and known ways beside it in the same simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from attncc import targets
from attncc.distributed.schedules.sharing import Sharing, steps
from attncc.distributed.simulation.baselines import Baseline
from attncc.distributed.simulation.choose import Progress, choose
from attncc.distributed.simulation.figures import Known, Way, spans
from attncc.distributed.simulation.scene import Candidate, Scene
from attncc.ir.tables import Array

#: Share of a ring's bytes at the busiest rank from which exact exchanges are said to save nothing.
NOTHING_SAVED = 0.95
#: Relative difference of two makespans that is only rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Report:
    """What was tried for a scene, the fastest first, and known ways by direction."""

    scene: Scene
    tried: Sequence[Candidate]
    baselines: Mapping[str, Sequence[Baseline]]

    @property
    def best(self) -> Candidate:
        """The fastest candidate."""
        return self.tried[0]

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.scene.topology.count

    @cached_property
    def ways(self) -> dict[str, Way]:
        """The directions of the best candidate."""
        chosen = self.best.schedule, self.scene.inputs, self.best.sharing
        return {name: Way.of(steps(*chosen, name), self.ranks) for name in self.scene.directions}

    @property
    def work(self) -> Array:
        """Pairs of one direction that each rank computes, float64 (ranks,)."""
        work: Array = np.sum([step.work for step in next(iter(self.ways.values())).steps], axis=0)
        return work

    @property
    def imbalance(self) -> float:
        """The most work of a rank over the mean, 1.0 where there is none."""
        return float(self.work.max() / self.work.mean()) if self.work.any() else 1.0

    @property
    def idle(self) -> float:
        """Share of the devices' time in which they don't compute."""
        busy = sum(float(timeline.busy.sum()) for timeline in self.best.timelines.values())
        return 1.0 - busy / (self.ranks * self.best.seconds) if self.best.seconds else 0.0

    @property
    def tokens(self) -> Array:
        """Tokens of each rank, int64 (ranks,)."""
        return self.best.sharing.tokens(self.best.schedule.partition.counts)

    @property
    def known(self) -> list[Known]:
        """Known ways, all directions together."""
        rows = zip(*self.baselines.values(), strict=True)
        return [Known.of(row[0].name, dict(zip(self.baselines, row, strict=True))) for row in rows]

    @property
    def one_device(self) -> float:
        """Seconds of the same pattern on the first device alone, whether or not it fits there."""
        device, pairs = self.scene.topology.devices[0], float(self.work.sum())
        launch = targets.target(device.target).launch
        costs = (self.scene.costs[way][device.target] for way in self.scene.directions)
        return sum(pairs * cost / device.share + launch for cost in costs)

    @property
    def of_ring(self) -> float:
        """Bytes of the busiest rank over those of a ring's, in the first direction; 0.0 if nothing travels."""
        direction, way = next(iter(self.ways.items()))
        ring = next(each for each in self.baselines[direction] if each.name == "ring")
        most = int(ring.received.max())
        return int(way.received.max()) / most if most else 0.0

    @property
    def notes(self) -> list[str]:
        """What the figures don't show by themselves: where nothing is saved, and where something else is faster."""
        found = []
        direction = self.scene.directions[0]
        if self.of_ring >= NOTHING_SAVED:
            found.append(
                "Exchanging exactly what is seen saves nothing on the busiest rank: "
                f"it receives {self.of_ring:.0%} of a ring's bytes in the {direction}."
            )
        found += [
            f"{each.name} is faster in this simulation, by {self.best.seconds / each.seconds - 1:.1%}."
            for each in self.known
            if each.seconds and each.seconds < self.best.seconds * (1 - ROUNDING)
        ]
        if self.ranks > 1 and self.one_device < self.best.seconds:
            found.append("One device alone is faster, if its memory holds everything: there is too little to compute.")
        return found

    def describe(self) -> dict[str, Any]:
        """Return the report as plain data; times in seconds, sizes in bytes."""
        topology, least, most = self.scene.topology, int(self.tokens.min()), int(self.tokens.max())
        return {
            "pattern": repr(self.scene.pattern),
            "seq_len": self.scene.length,
            "inputs": asdict(self.scene.inputs),
            "topology": {"name": topology.name, "title": topology.title, "ranks": self.ranks},
            "simulated": True,
            "chosen": self.settings(self.best),
            "makespan_s": self.best.seconds,
            "directions": {name: self._direction(name) for name in self.ways},
            "imbalance": self.imbalance,
            "idle": self.idle,
            "tokens_per_rank": {"min": least, "max": most},
            "busiest_of_ring": self.of_ring,
            "one_device_s": self.one_device,
            "baselines": [self._baseline(each) for each in self.known],
            "tried": [{**self.settings(each), "makespan_s": each.seconds} for each in self.tried],
            "notes": self.notes,
        }

    def settings(self, candidate: Candidate) -> dict[str, Any]:
        """Return a candidate's settings as plain data, with the unit that it has and the spread of its sharing."""
        unit = candidate.schedule.partition.cut.size
        return {**asdict(candidate.settings), "unit": unit, "spread": candidate.sharing.spread}

    def _direction(self, name: str) -> dict[str, Any]:
        way, timeline = self.ways[name], self.best.timelines[name]
        return {
            "makespan_s": timeline.seconds,
            "exposed_s": timeline.exposed,
            "rounds": way.rounds,
            "total_bytes": way.total,
            "busiest_received_bytes": int(way.received.max()),
            "busiest_sent_bytes": int(way.sent.max()),
            "ranks": spans(timeline),
        }

    def _baseline(self, known: Known) -> dict[str, Any]:
        ratio = known.seconds / self.best.seconds if known.seconds and self.best.seconds else None
        return {
            "name": known.name,
            "makespan_s": known.seconds,
            "ratio": ratio,
            "busiest_received_bytes": known.busiest,
            "total_bytes": known.total,
            "note": known.note,
        }


def report(
    scene: Scene,
    sharings: Iterable[Sharing] | None = None,
    on_step: Progress = lambda name: None,
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> Report:
    """Choose a schedule for a scene, as `choose`, and simulate known ways beside it."""
    tried = choose(scene, sharings, on_step, fixed)
    on_step("known ways")
    return Report(scene, tried, {way: scene.baselines(way) for way in scene.directions})
