"""Ranking: candidates by predicted seconds, in one order on every rank and platform."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Candidate = TypeVar("Candidate")

#: Seconds that differ by less, relatively, are equal: the order in which a machine adds them up may make as much.
TIE = 1e-9


def ranked(candidates: Iterable[Candidate], seconds: Callable[[Candidate], float]) -> list[Candidate]:
    """Return candidates the fastest first; of those that are as fast as the first of them, the earlier ones first."""
    given = list(candidates)
    found = [seconds(each) for each in given]
    groups: list[list[int]] = []
    for number in sorted(range(len(given)), key=found.__getitem__):
        if groups and not below(found[groups[-1][0]], found[number]):
            groups[-1].append(number)
        else:
            groups.append([number])
    return [given[number] for group in groups for number in sorted(group)]


def below(one: float, other: float) -> bool:
    """Return whether `one` is less than `other` by more than a tie; both are at least 0."""
    return one < other * (1 - TIE)
