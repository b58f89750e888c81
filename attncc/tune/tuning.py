"""Tuning: a job's best configuration, from the cache or by a search, and remembered."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from attncc.configs.entry import Entry
from attncc.configs.lookup import best_known
from attncc.configs.store import user_store
from attncc.errors import ConfigError
from attncc.tune import sources, trials
from attncc.tune.budget import Budget
from attncc.tune.kind import Candidate
from attncc.tune.listener import SILENT, Listener
from attncc.tune.outcome import (
    CANCELLED,
    TIME,
    Config,
    Evaluator,
    Finals,
    Outcome,
    Places,
    Resources,
    fastest,
    reasons,
)
from attncc.tune.remembered import remembered
from attncc.tune.result import Result
from attncc.tune.search import Limits, Ranked, Search
from attncc.tune.space import Space
from attncc.tune.study import Study
from attncc.tune.subject import Subject
from attncc.version import __version__

#: The share of a job's time that is kept for the finals.
FOR_FINALS = 0.35
#: A candidate whose trial took more than the default's by this factor has no chance in the finals.
NOISE = 1.1
#: In the names of files of trials: what is read as before has the same.
TRIALS_FORMAT = 2


@dataclass(frozen=True, eq=False)
class Field:
    """What there is to choose from: the space with the default in it, its feasible candidates, best predicted first."""

    space: Space
    facts: Mapping[str, object]
    ranked: Sequence[Ranked]

    def describe(self, most: int) -> dict[str, Any]:
        """Return the space as JSON-able data, with the `most` best by prediction."""
        removed, _ = self.space.removed(self.facts)
        return {
            "size": self.space.size,
            "feasible": len(self.ranked),
            "parameters": {name: list(values) for name, values in self.space.parameters.items()},
            "constraints": [{"rule": each.rule, "why": each.why, "removes": count} for each, count in removed],
            "ranking": [
                {"predicted_s": seconds if math.isfinite(seconds) else None, "config": self.space.candidate(places)}
                for seconds, places in self.ranked[:most]
            ],
        }


def field_of(subject: Subject) -> Field:
    """Load the space of a job and rank its candidates; raises ConfigError if there is nothing to choose from."""
    job = subject.job
    space = Space.load(job.backend, job.direction, subject.options.space).including(subject.default)
    return Field(space, subject.facts, subject.ranked(space))


def tune(subject: Subject, listener: Listener = SILENT, budget: Budget | None = None) -> Result:
    """Search for the best configuration of a job, unless one is remembered, and remember it.

    Raises ConfigError for options that leave nothing to try, and what planning raises.
    """
    known = None if subject.options.force else remembered(subject.job, subject.options)
    return known or Tuning(subject, listener, budget).result()


class Tuning:
    """One job's tuning, within a budget: the allowance of its options, unless another is given.

    The default configuration is tried whatever the budget, so that there is an answer.
    """

    def __init__(self, subject: Subject, listener: Listener = SILENT, budget: Budget | None = None) -> None:
        self.subject, self.listener = subject, listener
        self.job, self.options = subject.job, subject.options
        self.allowance = self.options.allowance
        self.budget = budget or Budget(self.allowance.seconds, listener.is_cancelled)
        self.searching = self.budget.share(1 - (FOR_FINALS if self.options.mode == "measured" else 0))

    @cached_property
    def field(self) -> Field:
        """What there is to choose from."""
        self.subject.on_step("planning, and ranking the configurations")
        return field_of(self.subject)

    @cached_property
    def space(self) -> str:
        """The hash of the search space's files."""
        return sources.digest(self.job.backend, self.options.space)

    def result(self) -> Result:
        """Search, decide and remember."""
        with self._search() as search:
            finished = search.run()
            if not any(outcome.seconds is not None for outcome in finished.values()):
                raise self._nothing_ran(finished)
            ended = CANCELLED if self.budget.is_cancelled else search.ended
            entry, notes = self._decided(search.evaluate, finished, ended)
        is_stored = user_store().save(entry)
        tried = [(self.field.space.candidate(places), outcome) for places, outcome in finished.items()]
        failed = reasons([outcome for _, outcome in tried])
        return Result(self.job, entry, "tuned", search.ran, failed, notes, tried, ended, is_stored)

    def searched(self) -> dict[Places, Outcome]:
        """Search, and return the outcomes; what is remembered stays as it is."""
        with self._search() as search:
            return search.run()

    @contextmanager
    def _search(self) -> Iterator[Search]:
        """Open the trials of this job over this space, of which none is repeated, and what tries them."""
        name = f"{self.job.key.digest}-{self.space[:14]}-{TRIALS_FORMAT}-{self.options.mode}.jsonl"
        path = user_store().trials(self.job.environment, name)
        limits = Limits(self.allowance.trials, self.searching.left)
        with (
            self.subject.evaluator(self.searching.left) as evaluate,  # its workers start while this process plans
            trials.storage(path, self.options.storage) as storage,
        ):
            space = self.field.space
            counts = {name: len(values) for name, values in space.parameters.items()}
            yield Search(
                space,
                Study.of(storage, name, counts, self.options.seed),
                evaluate,
                limits,
                self._first(),
                self.field.ranked,
                partial(self.listener.on_trial, self.job),
                self.subject.on_step,
                required=1 + len(self.subject.proposed()),
            )

    def _first(self) -> list[Places]:
        """What is tried before all else: the default, what its subject proposes, what was best nearby, and seeds."""
        space = self.field.space
        nearby = best_known(self.job.key, self.job.environment)
        near: Candidate = {**space.default, **(nearby.config if nearby else {})}  # type: ignore[dict-item]
        feasible = {each.places: None for each in self.field.ranked}
        default, *seeds = space.seeded(self.field.facts)
        known = (default, *self.subject.proposed(), near, *seeds)
        proposed = (space.index(each) for each in known if space.contains(each))
        return [places for places in dict.fromkeys(proposed) if places in feasible]

    def _decided(self, evaluate: Evaluator, finished: Mapping[Places, Outcome], ended: str) -> tuple[Entry, list[str]]:
        """Let the fastest compete with the default; return what to remember, and what to tell."""
        space = self.field.space
        default, challengers = space.index(space.default), self._challengers(finished)
        contestants = [space.candidate(places) for places in (default, *challengers)]
        dense, rounds = self.subject.dense, self.allowance.rounds
        if not challengers and self.budget.left() <= 0:
            rounds = 0
        finals = evaluate.finals(contestants, dense=dense, rounds=rounds, left=self.budget.left)
        if not finals.samples[0] and default in finished:  # its trial is what there is
            finals = replace(finals, samples=(finished[default].samples, *finals.samples[1:]))
        if not finals.samples[finals.winner]:
            raise self._nothing_ran(finished)
        notes = [f"out: {space.told(contestants[place])}: {text}" for place, text in finals.errors.items()]
        resources = finished[challengers[finals.winner - 1]].resources if finals.winner else ()
        tried = sum(not outcome.is_late for outcome in finished.values())
        return self._entry(contestants[finals.winner], finals, resources, tried, ended), notes

    def _challengers(self, finished: Mapping[Places, Outcome]) -> list[Places]:
        """Return the candidates that may be faster than the default: fewer where there is no time for more."""
        default = self.field.space.index(self.field.space.default)
        seconds = finished[default].seconds if default in finished else None
        reach = math.inf if seconds is None else seconds * (NOISE if self.budget.left() > 0 else 1.0)
        ordered = [places for places in fastest(finished, len(finished)) if places != default]
        near = [places for places in ordered if (finished[places].seconds or 0.0) <= reach]
        return near[: self.allowance.finalists if self.budget.left() > 0 else 1]

    def _entry(self, config: Config, finals: Finals, resources: Sequence[Resources], tried: int, ended: str) -> Entry:
        samples = {"best": finals.samples[finals.winner], "default": finals.samples[0], "dense": finals.dense}
        samples = {name: each for name, each in samples.items() if each}
        about: dict[str, object] = {"candidates": len(self.field.ranked)}
        if ended == TIME:
            about["budget"] = self.allowance.seconds
        if finals.dense_length is not None:
            about["dense_q_len"] = finals.dense_length
        return Entry(
            key=self.job.key,
            environment=self.job.environment,
            config={name: value for name, value in config.items() if value != self.field.space.default[name]},
            mode=self.options.mode,
            seconds={name: statistics.median(each) for name, each in samples.items()},
            samples=samples,
            resources=tuple(resources),
            expected_error=self.subject.expected_error,
            trials=tried,
            effort=CANCELLED if ended == CANCELLED else self.options.effort,
            seed=self.options.seed,
            space=self.space,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            about=self.job.about(config) | about,
        )

    def _nothing_ran(self, finished: Mapping[Places, Outcome]) -> ConfigError:
        outcomes = list(finished.values())
        counted = (reasons(outcomes) or Counter(outcome.reason for outcome in outcomes)).most_common(3)
        common = ", ".join(f"{reason} ({count} x)" for reason, count in counted)
        return ConfigError(
            f"None of {len(finished)} configurations ran: {common}.",
            rule="At least one has to.",
            fix="Add others with --space FILE, or choose a smaller shape.",
        )
