"""The search: proposals by prediction and by Optuna's sampler in turn, until trials, time or space run out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from attncc.tune.evaluation import EXHAUSTED, TIME, TRIALS, Config, Evaluator, Outcome, best
from attncc.tune.space import Facts, Point, Space
from attncc.tune.study import RunningTrial, Study
from attncc.tune.tunables import Candidate

#: Proposals of the sampler in a row that are known or excluded, after which the next one by prediction is taken.
PATIENCE = 16


@dataclass(frozen=True)
class Limits:
    """When a search ends: trials in its study, whoever ran them, and the seconds that are left."""

    trials: int
    left: Callable[[], float]


@dataclass(frozen=True)
class Progress:
    """Where a search stands: the last trial, and all outcomes so far."""

    config: Config
    outcome: Outcome
    finished: Mapping[Point, Outcome]
    ran: int
    limits: Limits


class RankedCandidate(NamedTuple):
    """A feasible candidate with the seconds that a cost model predicts, infinite where none does."""

    seconds: float
    point: Point


@dataclass(frozen=True, eq=False)
class Ranking:
    """What there is to choose from, and in which order to try it.

    Attributes:
        space: The search space, with the default in it.
        facts: What its rules were trial with.
        ranked: The feasible candidates, best predicted first.
        proposed: Candidates to try right after the default, even where no time is left.
    """

    space: Space
    facts: Facts
    ranked: Sequence[RankedCandidate]
    proposed: Sequence[Candidate] = ()

    def describe(self, most: int) -> dict[str, Any]:
        """Return the space as JSON-able data, with the `most` best by prediction."""
        removed = self.space.removed(self.facts)
        return {
            "size": self.space.size,
            "feasible": len(self.ranked),
            "parameters": {name: list(values) for name, values in self.space.parameters.items()},
            "constraints": [{"rule": each.rule, "why": each.why, "removes": count} for each, count in removed],
            "ranking": [
                {"predicted_s": seconds if math.isfinite(seconds) else None, "config": self.space.candidate(point)}
                for seconds, point in self.ranked[:most]
            ],
        }


@dataclass(eq=False)
class Search:
    """A search over the feasible candidates of a space. `ended` says afterwards why it ended.

    Attributes:
        first: Candidates to try before all others: the default, seeds, the winner of a similar task.
        ranked: All feasible ones, by prediction.
        required: How many of the first ones are tried even where no time is left.
    """

    space: Space
    study: Study
    evaluate: Evaluator
    limits: Limits
    first: Sequence[Point]
    ranked: Sequence[RankedCandidate]
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_step: Callable[[str], None] = lambda step: None
    finished: dict[Point, Outcome] = field(default_factory=dict)
    begun: set[Point] = field(default_factory=set)
    required: int = 1
    ran: int = 0
    ended: str = ""

    def run(self) -> dict[Point, Outcome]:
        """Run to the end; return the outcomes of all evaluated candidates.

        The required ones are tried even where no time is left.
        """
        self.finished = self.study.finished()
        proposals = self._proposals()
        while len(self.finished) < self.limits.trials:
            if self.limits.left() <= 0 and not any(map(self._is_new, self.first[: self.required])):
                self.ended = TIME
                return self.finished
            batch = list(islice(proposals, min(self.evaluate.batch, self.limits.trials - len(self.finished))))
            if not batch:
                self.ended = EXHAUSTED
                return self.finished
            self._evaluate(batch)
        self.ended = TRIALS
        return self.finished

    def _evaluate(self, batch: list[RunningTrial]) -> None:
        configs = [self.space.candidate(trial.point) for trial in batch]
        self.on_step(self._step(configs))
        outcomes = self.evaluate(configs, best(self.finished))
        for trial, config, outcome in zip(batch, configs, outcomes, strict=True):
            self.study.tell(trial, outcome)
            self.finished[trial.point] = outcome
            self.begun.discard(trial.point)
            self.ran += 1
            self.on_progress(Progress(config, outcome, self.finished, self.ran, self.limits))
        self.finished |= self.study.finished()

    def _step(self, configs: Sequence[Config]) -> str:
        """Return what is tried next in words."""
        first, count = len(self.finished) + 1, len(configs)
        what = f"trial {first}" if count == 1 else f"trials {first} to {first + count - 1}"
        most = min(self.limits.trials, max(len(self.ranked), first + count - 1))
        return f"{what} of {most}: {self.space.told(configs[0])}" + (", and others" if count > 1 else "")

    def _proposals(self) -> Iterator[RunningTrial]:
        """Yield trials of new candidates: first ones, then the best by prediction and the sampler's in turn.

        Where the trials are enough for all candidates, the sampler has nothing to add.
        """
        for point in self.first:
            yield from self._begun(point)
        for each in self.ranked:
            yield from self._begun(each.point)
            if len(self.ranked) > self.limits.trials:
                yield from self._sampled()

    def _begun(self, point: Point) -> Iterator[RunningTrial]:
        if self._is_new(point):
            self.begun.add(point)
            yield self.study.begin(point)

    def _sampled(self) -> Iterator[RunningTrial]:
        """Yield the sampler's next proposal that is new and feasible, unless that takes too long."""
        for _ in range(PATIENCE):
            trial = self.study.ask()
            if trial.point in self.finished:
                self.study.repeat(trial, self.finished[trial.point])
            elif trial.point not in self._feasible or not self._is_new(trial.point):
                self.study.refuse(trial)
            else:
                self.begun.add(trial.point)
                yield trial
                return

    def _is_new(self, point: Point) -> bool:
        return point not in self.finished and point not in self.begun and point not in self.study.elsewhere()

    @cached_property
    def _feasible(self) -> frozenset[Point]:
        return frozenset(each.point for each in self.ranked)
