"""Results of tuning: of one task, and of all directions together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attncc.configs.entry import Entry
from attncc.planner.dense import verdict
from attncc.planner.directions import BOTH, SHORT_NAMES
from attncc.tune.evaluation import Config, Outcome
from attncc.tune.task import TuningTask


@dataclass(frozen=True, eq=False)
class TaskResult:
    """What is known of the best configuration of a task.

    Attributes:
        task: What was tuned.
        entry: What is remembered: the configuration, seconds, samples and where they are from.
        source: `tuned` by this call, or `cached` by an earlier one.
        trials_run: Trials of this call.
        reasons: How often a trial failed for a reason.
        notes: Sentences on the finals.
        tried: All configurations of the search, with what became of them.
        ended: Why the search ended, by a name of attncc.tune.evaluation; empty for a cached result.
        is_stored: Whether a later look-up finds it.
    """

    task: TuningTask
    entry: Entry
    source: str
    trials_run: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    tried: Sequence[tuple[Config, Outcome]] = ()
    ended: str = ""
    is_stored: bool = True

    @property
    def kept_default(self) -> bool:
        """Whether the best configuration is the default one."""
        return not self.entry.config

    @property
    def over_default(self) -> float | None:
        """The default's seconds over the best ones, or None if the default didn't run."""
        return self._over("default")

    @property
    def over_dense(self) -> float | None:
        """Dense attention's seconds over the best ones, or None if it didn't run."""
        return self._over("dense")

    @property
    def remarks(self) -> list[str]:
        """The notes, and that dense attention is as fast, where it is."""
        how = "took" if self.entry.mode == "measured" else "should take"
        said = verdict(self.over_dense, how, self.task.direction)
        return [*self.notes, *([said] if said else [])]

    @property
    def candidates(self) -> int:
        """Feasible configurations of the search space."""
        count = self.entry.about.get("candidates")
        return count if isinstance(count, int) else self.entry.trials

    @property
    def untried(self) -> int:
        """Feasible configurations that were not tried, or not to their end."""
        return max(0, self.candidates - self.entry.trials)

    @property
    def late(self) -> int:
        """Configurations of this search that had no time to end."""
        return sum(outcome.is_late for _, outcome in self.tried)

    @property
    def dense_length(self) -> int | None:
        """The queries that dense attention was timed at, if fewer than there are; its seconds are scaled."""
        length = self.entry.about.get("dense_q_len")
        return length if isinstance(length, int) else None

    @property
    def plan(self) -> str:
        """Which alternative of the plan runs, and in which layouts."""
        return str(self.entry.about.get("plan", ""))

    def describe(self) -> dict[str, object]:
        """Return the result as JSON-able data."""
        entry = self.entry
        return {
            "direction": SHORT_NAMES[self.task.direction],
            "key": self.task.key.digest,
            "source": self.source,
            "mode": entry.mode,
            "trials_run": self.trials_run,
            "trials": entry.trials,
            "candidates": self.candidates,
            "ended": self.ended or None,
            "timed_out_trials": self.late,
            "stored": self.is_stored,
            "config": dict(entry.config),
            "plan": self.plan,
            "seconds": dict(entry.seconds),
            "samples": {name: list(samples) for name, samples in entry.samples.items()},
            "speedup": {"over_default": self.over_default, "over_dense": self.over_dense},
            "dense_scaled_from": self.dense_length,
            "expected_error": entry.expected_error,
            "resources": [dict(each) for each in entry.resources],
            "failed_trials": dict(self.reasons),
            "notes": self.remarks,
        }

    def _over(self, other: str) -> float | None:
        seconds = self.entry.seconds.get(other)
        return seconds / self.entry.seconds["best"] if seconds else None


@dataclass(frozen=True, eq=False)
class TuningResult:
    """The results of all directions that were asked for, or of those that were begun before it was cancelled."""

    each: Sequence[TaskResult]
    is_cancelled: bool = False

    @property
    def config(self) -> dict[str, object]:
        """The configuration of all directions, as `attncc.attention` takes it."""
        return {name: value for result in self.each for name, value in result.entry.config.items()}

    @property
    def key(self) -> str:
        """The key of the one direction, or a hash of both."""
        keys = [result.task.key.digest for result in self.each]
        return keys[0] if len(keys) == 1 else hashlib.sha256("+".join(keys).encode()).hexdigest()[: len(keys[0])]

    def describe(self) -> dict[str, object]:
        """Return one object of JSON-able data; its sums are over the directions."""
        if not self.each:
            return {"cancelled": self.is_cancelled, "directions": []}
        first = self.each[0]
        sources = {result.source for result in self.each}
        return {
            "key": self.key,
            "pattern": repr(first.task.pattern),
            "score": first.entry.about.get("score"),
            "target": first.task.target,
            "backend": first.task.backend,
            "direction": SHORT_NAMES[BOTH] if len(self.each) > 1 else SHORT_NAMES[first.task.direction],
            "mode": first.entry.mode,
            "source": "tuned" if "tuned" in sources else "cached",
            "cancelled": self.is_cancelled,
            "trials_run": sum(result.trials_run for result in self.each),
            "config": self.config,
            "plan": {SHORT_NAMES[result.task.direction]: result.plan for result in self.each},
            "samples": {SHORT_NAMES[result.task.direction]: result.describe()["samples"] for result in self.each},
            "speedup": {"over_default": self.over("default"), "over_dense": self.over("dense")},
            "expected_error": first.entry.expected_error,
            "directions": [result.describe() for result in self.each],
        }

    def over(self, other: str) -> float | None:
        """Return the summed seconds of `default` or `dense` over the best ones, or None if one didn't run."""
        seconds = [result.entry.seconds for result in self.each]
        if not all(each.get(other) for each in seconds):
            return None
        return math.fsum(each[other] for each in seconds) / math.fsum(each["best"] for each in seconds)
