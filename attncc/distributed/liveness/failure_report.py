"""Failure reports: from the heartbeats of all ranks, which rank the others wait for. Pure data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self


class Stored:
    """A record that the store of a world holds as JSON."""

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(vars(self))

    @classmethod
    def of(cls, text: str | bytes) -> Self:
        """Return the record that `text` was made of."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Heartbeat(Stored):
    """A sign of life that a rank writes to the store.

    Attributes:
        process: A name for the process, as another may have been the rank before.
        number: Grows with each heartbeat.
        entered: By the key of a group, the number of its exchanges that the rank has come to.
        waiting: The group of the exchange that the rank is in, None while it computes.
        last: The exchange that it is in, or was in last.
        knows: Whether it has seen the failure report.
    """

    process: str
    number: int
    entered: Mapping[str, int]
    waiting: str | None
    last: str
    knows: bool


@dataclass(frozen=True)
class FailureReport(Stored):
    """The global rank that is to blame, None for a process outside the world; and why, to follow it in a sentence.

    Attributes:
        processes: Those that were known, by rank as text. A store that outlives its world, as that of torchrun's agent
            does, may hold a report on another.
    """

    rank: int | None
    why: str
    processes: Mapping[str, str] = field(default_factory=dict)

    def is_on(self, rank: int, process: str) -> bool:
        """Return whether it is on the world in which this process is this rank."""
        return self.processes.get(str(rank)) == process


Heartbeats = Mapping[int, Heartbeat]


def blame(
    before: Heartbeats, now: Heartbeats, ranks: Collection[int], group: str, seconds: float
) -> FailureReport | None:
    """Return who holds up an exchange of `ranks` in `group`, given two readings of heartbeats `seconds` apart.

    A rank of the world that gave no new sign of life comes first; failing that, the one that is behind in `group`, and
    then the one that has come to another exchange than most: with tensors of other sizes, or no gradients.
    """
    processes = {str(rank): heartbeat.process for rank, heartbeat in now.items()}
    started = set(ranks) | now.keys()
    silent = sorted(rank for rank in started if _number(before, rank) == _number(now, rank))
    if silent:
        known = silent[0] in now
        why = f"gave no sign of life for {seconds:.1f} s" if known else "has not come to any exchange"
        return FailureReport(silent[0], why, processes)
    late = _late(now, set(ranks), group, set())
    if late is not None:
        where = _whereabouts(now, {*ranks, late})
        why = f"is alive, but has not come to an exchange that the others wait in (last, {where})"
        return FailureReport(late, why, processes)
    there = {rank: now[rank].last for rank in ranks if rank in now}
    apart = outliers(there)
    if not apart:
        return None
    return FailureReport(apart[0], f"is in another exchange than others ({_whereabouts(now, there)})", processes)


def _whereabouts(now: Heartbeats, ranks: Collection[int]) -> str:
    """Return in words which exchange each rank is in, or was in last."""
    found: dict[str, list[int]] = {}
    for rank in sorted(now.keys() & set(ranks)):
        found.setdefault(now[rank].last, []).append(rank)
    return "; ".join(f"{named(each)} in {last}" for last, each in found.items())


def _number(heartbeats: Heartbeats, rank: int) -> int | None:
    return heartbeats[rank].number if rank in heartbeats else None


def _late(now: Heartbeats, ranks: Collection[int], group: str, seen: set[str]) -> int | None:
    """Return the rank that is behind in a group, or that the one behind waits for in another group."""
    counts = {rank: now[rank].entered.get(group, 0) for rank in ranks if rank in now}
    most = max(counts.values(), default=0)
    behind = sorted((count, rank) for rank, count in counts.items() if count < most)
    for _, rank in behind:
        other = now[rank].waiting
        if other is None:
            return rank
        if other not in seen | {group}:
            members = [member for member, heartbeat in now.items() if other in heartbeat.entered]
            found = _late(now, members, other, seen | {group})
            if found is not None:
                return found
    return behind[0][1] if behind else None


def outliers(found: Mapping[int, object]) -> list[int]:
    """Return the ranks that have something else than most; where as many have either, the lowest rank has the usual."""
    usual = Counter(found[rank] for rank in sorted(found)).most_common(1)[0][0]
    return [rank for rank in sorted(found) if found[rank] != usual]


def named(ranks: Sequence[int]) -> str:
    """Return ranks in words."""
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
