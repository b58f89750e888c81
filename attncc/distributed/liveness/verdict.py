"""Verdicts: from signs of life of all ranks, which of them the others wait for in vain. Pure data."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

from attncc.distributed.liveness.odd import named, odd


@dataclass(frozen=True)
class Beat:
    """A sign of life of a rank.

    process: a name for the process, as another may have been the rank before; number: grows with every beat; entered:
    how many exchanges of each group, by its key, the rank has come to; waiting: the group in an exchange of which it
    is, None while it computes; last: what it is in, or was in last; knows: whether it has heard the verdict.
    """

    process: str
    number: int
    entered: Mapping[str, int]
    waiting: str | None
    last: str
    knows: bool

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | bytes) -> Beat:
        """Return the beat that `text` was made of."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Verdict:
    """The global rank that is to blame, None for a process outside the world; and why, to follow it in a sentence.

    processes: those that were known, by rank as text. A store that outlives its world, as that of torchrun's agent
    does, may hold a verdict on another.
    """

    rank: int | None
    why: str
    processes: Mapping[str, str] = field(default_factory=dict)

    def is_on(self, rank: int, process: str) -> bool:
        """Return whether it is on the world in which this process is this rank."""
        return self.processes.get(str(rank)) == process

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | bytes) -> Verdict:
        """Return the verdict that `text` was made of."""
        return cls(**json.loads(text))


Beats = Mapping[int, Beat]


def blame(before: Beats, now: Beats, ranks: Collection[int], group: str, seconds: float) -> Verdict | None:
    """Return who holds up an exchange of `ranks` in `group`, given two readings of beats `seconds` apart.

    A rank of the world that gave no new sign of life comes first; failing that, the one that is behind in `group`, and
    then the one that has come to another exchange than most: with tensors of other sizes, or no gradients.
    """
    processes = {str(rank): beat.process for rank, beat in now.items()}
    started = set(ranks) | now.keys()
    silent = sorted(rank for rank in started if _number(before, rank) == _number(now, rank))
    if silent:
        known = silent[0] in now
        why = f"gave no sign of life for {seconds:.1f} s" if known else "has not come to any exchange"
        return Verdict(silent[0], why, processes)
    late = _late(now, set(ranks), group, set())
    if late is not None:
        where = _whereabouts(now, {*ranks, late})
        why = f"is alive, but has not come to an exchange that the others wait in (last, {where})"
        return Verdict(late, why, processes)
    there = {rank: now[rank].last for rank in ranks if rank in now}
    apart = odd(there)
    if not apart:
        return None
    return Verdict(apart[0], f"is in another exchange than others ({_whereabouts(now, there)})", processes)


def _whereabouts(now: Beats, ranks: Collection[int]) -> str:
    """Return in words which exchange each rank is in, or was in last."""
    found: dict[str, list[int]] = {}
    for rank in sorted(now.keys() & set(ranks)):
        found.setdefault(now[rank].last, []).append(rank)
    return "; ".join(f"{named(each)} in {last}" for last, each in found.items())


def _number(beats: Beats, rank: int) -> int | None:
    return beats[rank].number if rank in beats else None


def _late(now: Beats, ranks: Collection[int], group: str, seen: set[str]) -> int | None:
    """Return the rank that is behind in a group, or that the one behind waits for in another group."""
    counts = {rank: now[rank].entered.get(group, 0) for rank in ranks if rank in now}
    most = max(counts.values(), default=0)
    behind = sorted((count, rank) for rank, count in counts.items() if count < most)
    for _, rank in behind:
        other = now[rank].waiting
        if other is None:
            return rank
        if other not in seen | {group}:
            members = [member for member, beat in now.items() if other in beat.entered]
            found = _late(now, members, other, seen | {group})
            if found is not None:
                return found
    return behind[0][1] if behind else None
