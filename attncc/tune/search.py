"""The search: proposals by prediction and by Optuna's sampler in turn, until trials, time or space run out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from attncc.tune.outcome import EXHAUSTED, TIME, TRIALS, Config, Evaluator, Outcome, Places, best
from attncc.tune.space import Space
from attncc.tune.study import Asked, Study

#: Proposals of the sampler in a row that are known or excluded, after which the next one by prediction is taken.
PATIENCE = 16


@dataclass(frozen=True)
class Limits:
    """When a search ends: trials in its study, whoever ran them, and the seconds that are left."""

    trials: int
    left: Callable[[], float]


@dataclass(frozen=True)
class Progress:
    """Where a search stands: what was just tried, and all that is known."""

    config: Config
    outcome: Outcome
    finished: Mapping[Places, Outcome]
    ran: int
    limits: Limits


class Ranked(NamedTuple):
    """A feasible candidate with the seconds that the backend's cost model predicts."""

    seconds: float
    places: Places


@dataclass(eq=False)
class Search:
    """A search over the feasible candidates of a space. `ended` says afterwards why it ended.

    first: candidates to try before all others: the default, seeds, what was best nearby; so many of them are required.
    ranked: all feasible ones, by prediction.
    """

    space: Space
    study: Study
    evaluate: Evaluator
    limits: Limits
    first: Sequence[Places]
    ranked: Sequence[Ranked]
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_step: Callable[[str], None] = lambda step: None
    finished: dict[Places, Outcome] = field(default_factory=dict)
    begun: set[Places] = field(default_factory=set)
    required: int = 1
    ran: int = 0
    ended: str = ""

    def run(self) -> dict[Places, Outcome]:
        """Run to the end; return the outcomes of all evaluated candidates.

        What is required is tried whatever time is left.
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

    def _evaluate(self, batch: list[Asked]) -> None:
        configs = [self.space.candidate(asked.places) for asked in batch]
        self.on_step(self._step(configs))
        outcomes = self.evaluate(configs, best(self.finished))
        for asked, config, outcome in zip(batch, configs, outcomes, strict=True):
            self.study.tell(asked, outcome)
            self.finished[asked.places] = outcome
            self.begun.discard(asked.places)
            self.ran += 1
            self.on_progress(Progress(config, outcome, self.finished, self.ran, self.limits))
        self.finished |= self.study.finished()

    def _step(self, configs: Sequence[Config]) -> str:
        """Return what is tried next in words."""
        first, count = len(self.finished) + 1, len(configs)
        what = f"trial {first}" if count == 1 else f"trials {first} to {first + count - 1}"
        most = min(self.limits.trials, max(len(self.ranked), first + count - 1))
        return f"{what} of {most}: {self.space.told(configs[0])}" + (", and others" if count > 1 else "")

    def _proposals(self) -> Iterator[Asked]:
        """Yield trials of new candidates: first ones, then the best by prediction and the sampler's in turn.

        Where the trials are enough for all candidates, the sampler has nothing to add.
        """
        for places in self.first:
            yield from self._begun(places)
        for each in self.ranked:
            yield from self._begun(each.places)
            if len(self.ranked) > self.limits.trials:
                yield from self._sampled()

    def _begun(self, places: Places) -> Iterator[Asked]:
        if self._is_new(places):
            self.begun.add(places)
            yield self.study.begin(places)

    def _sampled(self) -> Iterator[Asked]:
        """Yield the sampler's next proposal that is new and feasible, unless that takes too long."""
        for _ in range(PATIENCE):
            asked = self.study.ask()
            if asked.places in self.finished:
                self.study.repeat(asked, self.finished[asked.places])
            elif asked.places not in self._feasible or not self._is_new(asked.places):
                self.study.refuse(asked)
            else:
                self.begun.add(asked.places)
                yield asked
                return

    def _is_new(self, places: Places) -> bool:
        return places not in self.finished and places not in self.begun and places not in self.study.elsewhere()

    @cached_property
    def _feasible(self) -> frozenset[Places]:
        return frozenset(each.places for each in self.ranked)
