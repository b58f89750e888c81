"""Outcomes: what became of trying one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Config = Mapping[str, object]
#: What a kernel takes, by name: registers, shared bytes and so on.
Resources = Mapping[str, object]


@dataclass(frozen=True)
class Outcome:
    """Seconds of a configuration, with the samples that they are the median of; or the reason why there are none."""

    seconds: float | None
    samples: tuple[float, ...] = ()
    reason: str = ""
    resources: tuple[Resources, ...] = ()


class Evaluator(Protocol):
    """Tries configurations, `batch` at a time."""

    batch: int

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return an outcome each, in order; `best` is the least seconds so far, for giving up on hopeless ones."""
        ...
