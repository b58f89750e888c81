"""A pattern beside dense attention at several lengths: time against N, without the lengths that would take too long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from attncc._util.machine import machine, versions
from attncc._util.units import seconds
from attncc.backends.device import target_name
from attncc.frontend.patterns import Pattern
from attncc.measure.comparison import DENSE, OURS, Contestants
from attncc.measure.timing import Timing, take_turns
from attncc.measure.workload import Workload
from attncc.planner.plan import Plan
from attncc.planner.search import plan

#: Lengths of a sweep, each twice the one before, and the shortest that is of interest.
LENGTHS, SHORTEST = 6, 64
#: Seconds of a contestant at a length, if nobody says otherwise.
LIMIT = 30.0
#: The phase whose time says how long a longer call takes.
WHOLE = "forward + backward"


@dataclass(frozen=True)
class SweepPoint:
    """One length: timings by contestant and phase, and why a contestant wasn't run.

    `plan` is what ran, or what would; `predicted` are the seconds that attncc was expected to take.
    """

    length: int
    plan: Plan
    predicted: float
    timings: Mapping[str, Mapping[str, Timing]]
    skipped: Mapping[str, str]

    def speedup(self, phase: str) -> float | None:
        """Return dense time over attncc's, or None if one of the two didn't run."""
        if not {OURS, DENSE} <= set(self.timings):
            return None
        return self.timings[DENSE][phase].median / self.timings[OURS][phase].median

    def describe(self) -> dict[str, object]:
        """Return the point as JSON-able data; times in seconds."""
        timings = {who: {name: t.describe() for name, t in phases.items()} for who, phases in self.timings.items()}
        speedups = {phase: self.speedup(phase) for phase in next(iter(self.timings.values()), {})}
        ways = [group.alternatives[0].name for group in self.plan.groups]
        return {
            "seq_len": self.length,
            "plans": ways,
            "timings": timings,
            "speedup": speedups,
            "skipped": dict(self.skipped),
        }


@dataclass(frozen=True)
class Sweep:
    """Points by ascending length; `workload` has the sizes of the longest."""

    pattern: Pattern
    workload: Workload
    backend: str
    baseline: str
    limit: float
    points: Sequence[SweepPoint]

    def describe(self) -> dict[str, object]:
        """Return the sweep as JSON-able data; times in seconds."""
        return {
            "pattern": repr(self.pattern),
            "key": self.pattern.key,
            "workload": asdict(self.workload),
            "backend": self.backend,
            "dense_baseline": self.baseline,
            "limit_s": self.limit,
            "points": [point.describe() for point in self.points],
            "machine": machine(),
            "versions": versions(("attncc", "torch", "triton")),
        }


def lengths(longest: int) -> list[int]:
    """Return the lengths of a sweep: the longest, its half and so on, ascending."""
    halves = (longest >> bits for bits in reversed(range(LENGTHS)))
    return [length for length in halves if length >= SHORTEST or length == longest]


def sweep(
    pattern: Pattern,
    workload: Workload,
    *,
    backend: str | None = None,
    dense: bool = True,
    rounds: int = 3,
    limit: float = LIMIT,
    on_step: Callable[[str], None] = lambda step: None,
) -> Sweep:
    """Time a pattern, forward and backward, beside dense attention at lengths up to that of a workload.

    What would take a contestant more than `limit` seconds at a length isn't run, and the point says so. How long it
    would take is known from the length before: for attncc by the predicted times of both plans, for dense attention by
    the square of the lengths. Every plan is made before anything runs, so that lengths that can't be raise at once.
    """
    device = torch.device(workload.device)
    shape, target = workload.shape, target_name(device)
    on_step("planning")
    chosen = lengths(workload.seq_len)
    plans = [plan(pattern, n, heads=shape.heads, batch=shape.batch, target=target) for n in chosen]
    points: list[SweepPoint] = []
    contestants: Contestants | None = None
    for length, made in zip(chosen, plans, strict=True):
        predicted = sum(made.members(group) * group.alternatives[0].seconds for group in made.groups)
        skipped = _too_long(points[-1], length, predicted, rounds, limit) if points else {}
        wanted = [name for name in (OURS, DENSE)[: 1 + dense] if name not in skipped]
        timings: Mapping[str, Mapping[str, Timing]] = {}
        if wanted:
            on_step(f"N = {length:,}: planning, and a call of {' and of '.join(wanted)} to warm up")
            contestants = Contestants.of(pattern, replace(workload, seq_len=length), backend, dense=dense)
            calls = {name: contestants.calls[name] for name in wanted}
            for call in calls.values():
                call()
            timings = take_turns(calls, rounds, lambda name, n=length: on_step(f"N = {n:,}: {name}"))  # type: ignore[misc]
            made = contestants.plan
        points.append(SweepPoint(length, made, predicted, timings, skipped))
    assert contestants is not None  # the first length isn't skipped
    return Sweep(pattern, workload, contestants.backend, contestants.baseline, limit, points)


def _too_long(before: SweepPoint, length: int, predicted: float, rounds: int, limit: float) -> dict[str, str]:
    """Return why contestants are skipped at a length, given the point before it; one that was skipped stays so."""
    grown = {OURS: predicted / max(before.predicted, 1e-12), DENSE: (length / before.length) ** 2}
    found = dict.fromkeys(before.skipped, "a shorter length was skipped")
    for name, phases in before.timings.items():
        expected = (1 + rounds) * grown[name] * phases[WHOLE].median
        if expected > limit:
            found[name] = f"it would take about {seconds(expected)}, and the limit is {seconds(limit)}"
    return found
