"""Tuning: a task's best configuration, by a search and its finals, and how it is stored."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial

from attncc.configs.entry import Entry
from attncc.configs.lookup import best_known
from attncc.configs.store import user_store
from attncc.errors import ConfigError
from attncc.tune import space_files, trial_log
from attncc.tune.budget import Budget
from attncc.tune.evaluation import (
    CANCELLED,
    TIME,
    Config,
    Evaluator,
    Finals,
    Outcome,
    Resources,
    fastest,
    reasons,
)
from attncc.tune.listener import SILENT, Listener
from attncc.tune.options import TuningOptions
from attncc.tune.result import TaskResult
from attncc.tune.search import Limits, Ranking, Search
from attncc.tune.space import Point, Space
from attncc.tune.study import Study
from attncc.tune.task import TuningTask
from attncc.tune.tunables import Candidate
from attncc.version import __version__

#: The share of a task's time that is kept for the finals.
FOR_FINALS = 0.35
#: A candidate whose trial took more than the default's by this factor has no chance in the finals.
NOISE = 1.1
#: In the names of files of trials: what is read as before has the same.
TRIALS_FORMAT = 2


class Tuning:
    """The search for one task's best configuration, within a budget: the task's allowance, unless another is given.

    The default configuration is tried even without time, so that there is an answer. Raises ConfigError for options
    that leave nothing to try, and what planning raises.
    """

    def __init__(
        self, task: TuningTask, options: TuningOptions, listener: Listener = SILENT, budget: Budget | None = None
    ) -> None:
        self.task, self.options, self.listener = task, options, listener
        self.on_step = partial(listener.on_step, task)
        self.allowance = task.allowance(options)
        self.budget = budget or Budget(self.allowance.seconds, listener.is_cancelled)
        self.searching = self.budget.share(1 - (FOR_FINALS if task.mode == "measured" else 0))

    @cached_property
    def ranking(self) -> Ranking:
        """What there is to choose from."""
        self.on_step("planning, and ranking the configurations")
        return self.task.ranking(self.options, self.on_step)

    @property
    def space(self) -> Space:
        """The search space, with the default in it."""
        return self.ranking.space

    @cached_property
    def space_digest(self) -> str:
        """The hash of the search space's files."""
        return space_files.digest(self.task.backend, self.options.space)

    def result(self) -> TaskResult:
        """Search, decide in finals, and store the winner."""
        with self._search() as search:
            finished = search.run()
            if not any(outcome.seconds is not None for outcome in finished.values()):
                raise self._nothing_ran(finished)
            ended = CANCELLED if self.budget.is_cancelled else search.ended
            entry, notes = self._decided(search.evaluate, finished, ended)
        is_stored = user_store().save(entry)
        tried = [(self.space.candidate(point), outcome) for point, outcome in finished.items()]
        failed = reasons([outcome for _, outcome in tried])
        return TaskResult(self.task, entry, "tuned", search.ran, failed, notes, tried, ended, is_stored)

    def searched(self) -> dict[Point, Outcome]:
        """Search, and return the outcomes; nothing is stored but trials."""
        with self._search() as search:
            return search.run()

    @contextmanager
    def _search(self) -> Iterator[Search]:
        """Open the trials of this task over this space, of which none is repeated, and what tries them."""
        name = f"{self.task.key.digest}-{self.space_digest[:14]}-{TRIALS_FORMAT}-{self.task.mode}.jsonl"
        path = user_store().trials(self.task.environment, name)
        limits = Limits(self.allowance.trials, self.searching.left)
        evaluator = self.task.evaluator(self.options, self.searching.left, self.on_step)
        with (
            evaluator as evaluate,  # its workers start while this process plans
            trial_log.storage(path, self.options.storage) as storage,
        ):
            space = self.space
            counts = {name: len(values) for name, values in space.parameters.items()}
            yield Search(
                space,
                Study.of(storage, name, counts, self.options.seed),
                evaluate,
                limits,
                self._first(),
                self.ranking.ranked,
                partial(self.listener.on_trial, self.task),
                self.on_step,
                required=1 + len(self.ranking.proposed),
            )

    def _first(self) -> list[Point]:
        """Return the candidates to try first: the default, proposed ones, the winner of a similar task, and seeds."""
        space = self.space
        similar = best_known(self.task.key, self.task.environment)
        near: Candidate = {**space.default, **(similar.config if similar else {})}  # type: ignore[dict-item]
        feasible = {each.point for each in self.ranking.ranked}
        default, *seeds = space.seeded(self.ranking.facts)
        first = (default, *self.ranking.proposed, near, *seeds)
        proposed = (space.point(each) for each in first if space.contains(each))
        return [point for point in dict.fromkeys(proposed) if point in feasible]

    def _decided(self, evaluate: Evaluator, finished: Mapping[Point, Outcome], ended: str) -> tuple[Entry, list[str]]:
        """Let the fastest compete with the default; return the entry to store, and notes on the finals."""
        space = self.space
        default, challengers = space.point(space.default), self._challengers(finished)
        contestants = [space.candidate(point) for point in (default, *challengers)]
        dense, rounds = self.task.has_dense_baseline, self.allowance.rounds
        if not challengers and self.budget.left() <= 0:
            rounds = 0
        finals = evaluate.finals(contestants, dense=dense, rounds=rounds, left=self.budget.left)
        if not finals.samples[0] and default in finished:  # its trial is what there is
            finals = replace(finals, samples=(finished[default].samples, *finals.samples[1:]))
        if not finals.samples[finals.winner]:
            raise self._nothing_ran(finished)
        notes = [f"out: {space.told(contestants[index])}: {text}" for index, text in finals.errors.items()]
        resources = finished[challengers[finals.winner - 1]].resources if finals.winner else ()
        tried = sum(not outcome.is_late for outcome in finished.values())
        return self._entry(contestants[finals.winner], finals, resources, tried, ended), notes

    def _challengers(self, finished: Mapping[Point, Outcome]) -> list[Point]:
        """Return the candidates that may be faster than the default: fewer where there is no time for more."""
        default = self.space.point(self.space.default)
        seconds = finished[default].seconds if default in finished else None
        reach = math.inf if seconds is None else seconds * (NOISE if self.budget.left() > 0 else 1.0)
        ordered = [point for point in fastest(finished, len(finished)) if point != default]
        near = [point for point in ordered if (finished[point].seconds or 0.0) <= reach]
        return near[: self.allowance.finalists if self.budget.left() > 0 else 1]

    def _entry(self, config: Config, finals: Finals, resources: Sequence[Resources], tried: int, ended: str) -> Entry:
        samples = {"best": finals.samples[finals.winner], "default": finals.samples[0], "dense": finals.dense}
        samples = {name: each for name, each in samples.items() if each}
        about: dict[str, object] = {"candidates": len(self.ranking.ranked)}
        if ended == TIME:
            about["budget"] = self.allowance.seconds
        if finals.dense_length is not None:
            about["dense_q_len"] = finals.dense_length
        return Entry(
            key=self.task.key,
            environment=self.task.environment,
            config={name: value for name, value in config.items() if value != self.space.default[name]},
            mode=self.task.mode,
            seconds={name: statistics.median(each) for name, each in samples.items()},
            samples=samples,
            resources=tuple(resources),
            expected_error=self.task.expected_error,
            trials=tried,
            effort=CANCELLED if ended == CANCELLED else self.options.effort,
            seed=self.options.seed,
            space=self.space_digest,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            about=self.task.about(config) | about,
        )

    def _nothing_ran(self, finished: Mapping[Point, Outcome]) -> ConfigError:
        outcomes = list(finished.values())
        counted = (reasons(outcomes) or Counter(outcome.reason for outcome in outcomes)).most_common(3)
        common = ", ".join(f"{reason} ({count} x)" for reason, count in counted)
        return ConfigError(
            f"None of {len(finished)} configurations ran: {common}.",
            rule="At least one has to.",
            fix="Add others with --space FILE, or choose a smaller shape.",
        )
