"""Evaluation: the outcome of trying a configuration, and what tries configurations, in trials and in finals."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from attncc._util.closing import Closing
from attncc.tune.space import Point

Config = Mapping[str, object]
#: What a kernel takes, by name: registers, shared bytes and so on.
Resources = Mapping[str, object]

#: A challenger replaces the default if it is faster by this factor in the median of the rounds ...
MARGIN = 1.02
#: ... and faster at all in this share of them.
CONFIDENCE = 0.75

#: Why a search ended: its time was up, it had made its trials, nothing else was to be tried, or it was cancelled.
TIME, TRIALS, EXHAUSTED, CANCELLED = "time", "trials", "exhausted", "cancelled"


@dataclass(frozen=True)
class Outcome:
    """Seconds of a configuration, with the samples that they are the median of; or the reason why there are none.

    Attributes:
        is_late: It had no time to end, so that nothing is known of it.
    """

    seconds: float | None
    samples: tuple[float, ...] = ()
    reason: str = ""
    resources: tuple[Resources, ...] = ()
    is_late: bool = False


@dataclass(frozen=True)
class Finals:
    """Seconds of the contestants, round by round; `samples[0]` are the default's, `dense` those of dense attention.

    Attributes:
        errors: Why a challenger was refused, by its index.
        dense_length: The queries that dense attention was timed at, where they are fewer than the task's, and its
            seconds are scaled.
    """

    samples: tuple[tuple[float, ...], ...]
    dense: tuple[float, ...]
    errors: dict[int, str]
    dense_length: int | None = None

    @property
    def winner(self) -> int:
        """The index of the configuration to keep: a challenger's only if it beats the default beyond the noise."""
        medians = [statistics.median(each) if each else float("inf") for each in self.samples]
        by_time = sorted(range(1, len(medians)), key=medians.__getitem__)
        return next((index for index in by_time if index not in self.errors and self._beats_default(index)), 0)

    def _beats_default(self, index: int) -> bool:
        if not self.samples[0]:  # the default can't run: any that can is better
            return bool(self.samples[index])
        ratios = [ours / theirs for ours, theirs in zip(self.samples[0], self.samples[index], strict=False)]
        if not ratios:
            return False
        faster = sum(ratio > 1 for ratio in ratios) / len(ratios)
        return statistics.median(ratios) >= MARGIN and faster >= CONFIDENCE


def ahead(samples: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of contestants that are faster than the default, which comes first, in most rounds so far.

    A default that doesn't run is behind all that do.
    """
    default, *others = samples
    if not default:
        return [index for index, each in enumerate(others, start=1) if each]
    ratios = [[ours / theirs for ours, theirs in zip(default, each, strict=False)] for each in others]
    return [index for index, each in enumerate(ratios, start=1) if each and statistics.median(each) > 1]


def best(finished: Mapping[Point, Outcome]) -> float | None:
    """Return the least seconds, or None before there are any."""
    return min((each.seconds for each in finished.values() if each.seconds is not None), default=None)


def fastest(finished: Mapping[Point, Outcome], most: int) -> list[Point]:
    """Return the fastest candidates, at most `most`."""
    timed = [(each.seconds, point) for point, each in finished.items() if each.seconds is not None]
    return [point for _, point in sorted(timed)[:most]]


def reasons(outcomes: Sequence[Outcome]) -> Counter[str]:
    """Return how often each reason for failing occurred; what had no time didn't fail."""
    return Counter(outcome.reason for outcome in outcomes if outcome.seconds is None and not outcome.is_late)


class Evaluator(Closing, ABC):
    """Tries configurations, `batch` at a time; a context manager that owns what they run on."""

    batch = 1

    @abstractmethod
    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return an outcome each, in order; `best` is the least seconds so far, for giving up on hopeless ones."""

    @abstractmethod
    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Let the contestants, the default first, compete; raises ConfigError where that can't be brought to an end.

        Args:
            dense: Dense attention takes part, too.
            rounds: Fewer are run where `left` says that there is no time.
        """
