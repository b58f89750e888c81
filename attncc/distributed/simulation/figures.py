"""Figures of a report: what one direction of a schedule moves, and what known ways take and move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncc.distributed.schedules.traffic import Step, received
from attncc.distributed.simulation.baselines import Baseline
from attncc.distributed.simulation.scene import Candidate
from attncc.distributed.simulation.timeline import Timeline
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Way:
    """One direction of the chosen schedule: its steps, and bytes that ranks receive and send, int64 (ranks,)."""

    steps: Sequence[Step]
    received: Array
    sent: Array

    @classmethod
    def of(cls, steps: Sequence[Step], ranks: int) -> Way:
        """Return the bytes of steps of so many ranks."""
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
class Known:
    """A known way in all directions of the scene together; seconds is None where it isn't possible."""

    name: str
    seconds: float | None
    busiest: int
    total: int
    note: str

    @classmethod
    def of(cls, name: str, found: Mapping[str, Baseline]) -> Known:
        """Return the sum over directions; USP and all-gather may be set up differently in each."""
        each = list(found.values())
        times = [one.timeline.seconds for one in each if one.timeline is not None]
        notes = dict.fromkeys(one.note for one in each)
        note = next(iter(notes)) if len(notes) == 1 else "; ".join(f"{way}: {one.note}" for way, one in found.items())
        bytes_in = np.sum([one.received for one in each], axis=0)
        total = sum(one.total_bytes for one in each)
        return cls(name, sum(times) if len(times) == len(each) else None, int(bytes_in.max()), total, note)


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
    found: list[list[float]] = np.stack([begin, end], axis=1)[end > begin].tolist()
    return found


def exchange(candidate: Candidate) -> str:
    """Say how a candidate exchanges units."""
    settings, sharing = candidate.settings, candidate.sharing
    swapped = f"groups of {sharing.spread} swap sequence for heads" if sharing.spread > 1 else ""
    if sharing.parts == 1:
        return swapped or "nothing to exchange"
    stages = f"in {settings.stages} stages" if settings.stages > 1 else "in one round"
    direct = f"direct {stages}" if settings.stages else "direct in one round, computed at once after it"
    named = {"direct": direct, "ring": "units go round a ring", "tree": f"along a tree, fan-out {settings.fanout}"}
    return ", ".join(filter(None, [swapped, named[settings.route]]))


def distinct(tried: Iterable[Candidate]) -> list[Candidate]:
    """Return the first candidate of each partition and spread."""
    found: dict[tuple[str, int], Candidate] = {}
    for each in tried:
        found.setdefault((each.settings.partition, each.sharing.spread), each)
    return list(found.values())
