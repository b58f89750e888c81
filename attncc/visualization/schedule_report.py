"""The report on a schedule: the one chosen for a scenario, its figures, and baselines in the same simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from attncc import targets
from attncc.distributed.schedules.sharing import Sharing, steps
from attncc.distributed.schedules.traffic import Superstep, received
from attncc.distributed.simulation.baselines import Baseline
from attncc.distributed.simulation.choose import Progress, choose
from attncc.distributed.simulation.ranking import below
from attncc.distributed.simulation.scenario import Candidate, Scenario
from attncc.distributed.simulation.timeline import Timeline
from attncc.ir.tables import Array

#: Share of a ring's bytes at the busiest rank from which exact exchanges are said to save nothing.
NOTHING_SAVED = 0.95


@dataclass(frozen=True, eq=False)
class DirectionTraffic:
    """One direction of the chosen schedule: its steps, and bytes that ranks receive and send, int64 (ranks,)."""

    steps: Sequence[Superstep]
    received: Array
    sent: Array

    @classmethod
    def of(cls, steps: Sequence[Superstep], ranks: int) -> DirectionTraffic:
        """Return the bytes of the steps of `ranks` ranks."""
        sent = sum((step.flow.sent(ranks) for step in steps), np.zeros(ranks, np.int64))
        return cls(steps, received((step.flow for step in steps), ranks), sent)

    @property
    def rounds(self) -> int:
        """Rounds in which anything travels, with those that swap sequence for heads or return results."""
        return sum(step.flow.total > 0 for step in self.steps)

    @property
    def total(self) -> int:
        """Bytes of all ranks."""
        return int(self.received.sum())


@dataclass(frozen=True)
class BaselineSummary:
    """A baseline in all directions of the scenario together.

    Attributes:
        seconds: The makespan, None where it isn't possible.
        busiest, total: Bytes that the busiest rank, and all ranks, receive.
        note: How it was set up, or why it isn't possible.
    """

    name: str
    seconds: float | None
    busiest: int
    total: int
    note: str

    @classmethod
    def of(cls, by_direction: Mapping[str, Baseline]) -> BaselineSummary:
        """Return the sum over directions; USP and all-gather may be set up differently in each."""
        parts = list(by_direction.values())
        timelines = [part.timeline for part in parts if part.timeline is not None]
        seconds = sum(timeline.seconds for timeline in timelines) if len(timelines) == len(parts) else None
        notes = {part.note for part in parts}
        differing = "; ".join(f"{direction}: {part.note}" for direction, part in by_direction.items())
        busiest = int(np.sum([part.received for part in parts], axis=0).max())
        total = sum(part.total_bytes for part in parts)
        return cls(parts[0].name, seconds, busiest, total, notes.pop() if len(notes) == 1 else differing)


@dataclass(frozen=True, eq=False)
class Report:
    """What was tried for a scenario, the fastest first, and the baselines by direction."""

    scenario: Scenario
    tried: Sequence[Candidate]
    baselines: Mapping[str, Sequence[Baseline]]

    @property
    def best(self) -> Candidate:
        """The fastest candidate."""
        return self.tried[0]

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.scenario.topology.count

    @cached_property
    def traffic(self) -> dict[str, DirectionTraffic]:
        """What the best candidate sends, by direction."""
        chosen = self.best.schedule, self.scenario.inputs, self.best.sharing
        return {name: DirectionTraffic.of(steps(*chosen, name), self.ranks) for name in self.scenario.directions}

    @property
    def work(self) -> Array:
        """Pairs of one direction that each rank computes, float64 (ranks,)."""
        work: Array = np.sum([step.work for step in next(iter(self.traffic.values())).steps], axis=0)
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
    def summaries(self) -> list[BaselineSummary]:
        """The baselines, all directions together."""
        rows = zip(*self.baselines.values(), strict=True)
        return [BaselineSummary.of(dict(zip(self.baselines, row, strict=True))) for row in rows]

    @property
    def one_device(self) -> float:
        """Seconds of the same pattern on the first device alone, whether or not it fits there."""
        device, pairs = self.scenario.topology.devices[0], float(self.work.sum())
        launch = targets.target(device.target).launch
        costs = (self.scenario.costs[direction][device.target] for direction in self.scenario.directions)
        return sum(pairs * cost / device.share + launch for cost in costs)

    @property
    def of_ring(self) -> float:
        """Bytes of the busiest rank over those of a ring's, in the first direction; 0.0 if nothing travels."""
        direction, traffic = next(iter(self.traffic.items()))
        ring = next(each for each in self.baselines[direction] if each.name == "ring")
        most = int(ring.received.max())
        return int(traffic.received.max()) / most if most else 0.0

    @property
    def notes(self) -> list[str]:
        """What the figures don't show by themselves: where nothing is saved, and where something else is faster."""
        notes = []
        direction = self.scenario.directions[0]
        if self.of_ring >= NOTHING_SAVED:
            notes.append(
                "Exchanging exactly what is seen saves nothing on the busiest rank: "
                f"it receives {self.of_ring:.0%} of a ring's bytes in the {direction}."
            )
        notes += [
            f"{each.name} is faster in this simulation, by {self.best.seconds / each.seconds - 1:.1%}."
            for each in self.summaries
            if each.seconds and below(each.seconds, self.best.seconds)
        ]
        if self.ranks > 1 and self.one_device < self.best.seconds:
            notes.append("One device alone is faster, if its memory holds everything: there is too little to compute.")
        return notes

    def describe(self) -> dict[str, Any]:
        """Return the report as plain data; times in seconds, sizes in bytes."""
        topology, least, most = self.scenario.topology, int(self.tokens.min()), int(self.tokens.max())
        return {
            "pattern": repr(self.scenario.pattern),
            "seq_len": self.scenario.length,
            "inputs": asdict(self.scenario.inputs),
            "topology": {"name": topology.name, "title": topology.title, "ranks": self.ranks},
            "simulated": True,
            "chosen": self.settings(self.best),
            "makespan_s": self.best.seconds,
            "directions": {direction: self._direction(direction) for direction in self.traffic},
            "imbalance": self.imbalance,
            "idle": self.idle,
            "tokens_per_rank": {"min": least, "max": most},
            "busiest_of_ring": self.of_ring,
            "one_device_s": self.one_device,
            "baselines": [self._baseline(each) for each in self.summaries],
            "tried": [{**self.settings(each), "makespan_s": each.seconds} for each in self.tried],
            "notes": self.notes,
        }

    def settings(self, candidate: Candidate) -> dict[str, Any]:
        """Return a candidate's settings as plain data, with its unit and the Ulysses degree of its sharing."""
        unit = candidate.schedule.partition.chunking.size
        return {**asdict(candidate.settings), "unit": unit, "spread": candidate.sharing.ulysses_degree}

    def _direction(self, direction: str) -> dict[str, Any]:
        traffic, timeline = self.traffic[direction], self.best.timelines[direction]
        return {
            "makespan_s": timeline.seconds,
            "exposed_s": timeline.exposed,
            "rounds": traffic.rounds,
            "total_bytes": traffic.total,
            "busiest_received_bytes": int(traffic.received.max()),
            "busiest_sent_bytes": int(traffic.sent.max()),
            "ranks": spans(timeline),
        }

    def _baseline(self, summary: BaselineSummary) -> dict[str, Any]:
        return {
            "name": summary.name,
            "makespan_s": summary.seconds,
            "ratio": summary.seconds / self.best.seconds if summary.seconds and self.best.seconds else None,
            "busiest_received_bytes": summary.busiest,
            "total_bytes": summary.total,
            "note": summary.note,
        }


def report(
    scenario: Scenario,
    sharings: Iterable[Sharing] | None = None,
    on_step: Progress = lambda name: None,
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> Report:
    """Choose a schedule for a scenario, as `choose` does, and simulate the baselines beside it."""
    tried = choose(scenario, sharings, on_step, fixed)
    on_step("baselines")
    return Report(scenario, tried, {direction: scenario.baselines(direction) for direction in scenario.directions})


def spans(timeline: Timeline) -> list[dict[str, object]]:
    """Return what each rank does and when, as plain data, in seconds; a span is [from, to]."""
    computing, waiting, ends = timeline.busy.sum(axis=0), timeline.waiting.sum(axis=0), timeline.ends[-1]
    return [
        {
            "ends_s": float(ends[rank]),
            "computing_s": float(computing[rank]),
            "waiting_s": float(waiting[rank]),
            "computing": _between(timeline.starts[:, rank], timeline.computed[:, rank]),
            "exchanging": _between(timeline.begins[:, rank], timeline.landed[:, rank]),
        }
        for rank in range(len(ends))
    ]


def _between(begin: Array, end: Array) -> list[list[float]]:
    spans: list[list[float]] = np.stack([begin, end], axis=1)[end > begin].tolist()
    return spans


def exchange(candidate: Candidate) -> str:
    """Say how a candidate exchanges units."""
    settings, sharing = candidate.settings, candidate.sharing
    swapped = f"groups of {sharing.ulysses_degree} swap sequence for heads" if sharing.ulysses_degree > 1 else ""
    if sharing.parts == 1:
        return swapped or "nothing to exchange"
    stages = f"in {settings.stages} stages" if settings.stages > 1 else "in one round"
    direct = f"direct {stages}" if settings.stages else "direct in one round, computed at once after it"
    named = {"direct": direct, "ring": "units go round a ring", "tree": f"along a tree, fan-out {settings.fanout}"}
    return ", ".join(filter(None, [swapped, named[settings.route]]))


def distinct(tried: Iterable[Candidate]) -> list[Candidate]:
    """Return the first candidate of each partition and Ulysses degree."""
    first: dict[tuple[str, int], Candidate] = {}
    for candidate in tried:
        first.setdefault((candidate.settings.partition, candidate.sharing.ulysses_degree), candidate)
    return list(first.values())
