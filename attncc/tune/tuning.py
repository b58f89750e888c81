"""Tuning: a job's best configuration, from the cache or by a search, and remembered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from attncc.configs.entry import Entry
from attncc.configs.lookup import best_known
from attncc.configs.store import user_store
from attncc.errors import ConfigError
from attncc.tune import sources, trials
from attncc.tune.kind import Candidate
from attncc.tune.measurement import deadline
from attncc.tune.outcome import Config, Evaluator, Finals, Outcome, Places, Resources, fastest, reasons
from attncc.tune.remembered import remembered
from attncc.tune.result import Result
from attncc.tune.search import Limits, Progress, Ranked, Search
from attncc.tune.space import Space
from attncc.tune.study import Study
from attncc.tune.subject import Subject
from attncc.version import __version__

#: The share of the budget that is kept for the finals.
FOR_FINALS = 0.25


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


def tune(subject: Subject, on_progress: Callable[[Progress], None]) -> Result:
    """Search for the best configuration of a job, unless one is remembered, and remember it.

    Raises ConfigError for options that leave nothing to try, and what planning raises.
    """
    known = None if subject.options.force else remembered(subject.job, subject.options)
    return known or Tuning(subject, on_progress).result()


class Tuning:
    """One job's tuning."""

    def __init__(self, subject: Subject, on_progress: Callable[[Progress], None]) -> None:
        self.subject, self.on_progress = subject, on_progress
        self.job, self.options = subject.job, subject.options
        self.allowance = self.options.allowance
        self.left = deadline(self.allowance.seconds)
        self.field = field_of(subject)
        self.space = sources.digest(self.job.backend, self.options.space)

    def result(self) -> Result:
        """Search, decide and remember."""
        with self.subject.evaluator() as evaluate:
            search = self._search(self._study(), evaluate)
            finished = search.run()
            if not any(outcome.seconds is not None for outcome in finished.values()):
                raise self._nothing_ran(finished)
            entry, notes = self._decided(evaluate, finished)
        user_store().save(entry)
        failed = reasons(list(finished.values()))
        tried = [(self.field.space.candidate(places), outcome) for places, outcome in finished.items()]
        return Result(self.job, entry, "tuned", search.ran, failed, len(self.field.ranked), notes, tried)

    def searched(self) -> dict[Places, Outcome]:
        """Search, and return the outcomes; what is remembered stays as it is."""
        with self.subject.evaluator() as evaluate:
            return self._search(self._study(), evaluate).run()

    def _study(self) -> Study:
        """Open the trials of this job over this space: what was tried before is not tried again."""
        name = f"{self.job.key.digest}-{self.space[:16]}-{self.options.mode}.jsonl"
        path = user_store().trials(self.job.environment, name)
        counts = {name: len(values) for name, values in self.field.space.parameters.items()}
        return Study.of(trials.storage(path, self.options.storage), name, counts, self.options.seed)

    def _search(self, study: Study, evaluate: Evaluator) -> Search:
        share = 1 - (FOR_FINALS if self.options.mode == "measured" else 0)
        limits = Limits(self.allowance.trials, lambda: self.left() - (1 - share) * self.allowance.seconds)
        return Search(self.field.space, study, evaluate, limits, self._first(), self.field.ranked, self.on_progress)

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

    def _decided(self, evaluate: Evaluator, finished: Mapping[Places, Outcome]) -> tuple[Entry, list[str]]:
        """Let the fastest compete with the default; return what to remember, and what to tell."""
        space, base = self.field.space, self.field.space.default
        places = [each for each in fastest(finished, self.allowance.finalists + 1) if space.candidate(each) != base]
        contestants = [base, *map(space.candidate, places[: self.allowance.finalists])]
        dense, rounds = self.subject.dense, self.allowance.rounds
        finals = evaluate.finals(contestants, dense=dense, rounds=rounds, left=self.left)
        if not finals.samples[finals.winner]:
            raise self._nothing_ran(finished)
        notes = [f"{contestants[place]} was out: {text}" for place, text in finals.errors.items()]
        resources = finished[places[finals.winner - 1]].resources if finals.winner else ()
        return self._entry(contestants[finals.winner], finals, resources, len(finished)), notes

    def _entry(self, config: Config, finals: Finals, resources: Sequence[Resources], tried: int) -> Entry:
        samples = {"best": finals.samples[finals.winner], "default": finals.samples[0], "dense": finals.dense}
        samples = {name: each for name, each in samples.items() if each}
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
            effort=self.options.effort,
            seed=self.options.seed,
            space=self.space,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            about=self.job.about(config) | {"candidates": len(self.field.ranked)},
        )

    def _nothing_ran(self, finished: Mapping[Places, Outcome]) -> ConfigError:
        if not finished:
            return ConfigError(
                f"The budget of {self.allowance.seconds:.3g} s ended before one trial did.",
                rule="A trial plans, compiles and runs one configuration.",
                fix="Give it more, for example --budget 300s.",
            )
        common = ", ".join(f"{reason} ({count} x)" for reason, count in reasons(list(finished.values())).most_common(3))
        return ConfigError(
            f"None of {len(finished)} configurations ran: {common}.",
            rule="At least one has to.",
            fix="Add others with --space FILE, or choose a smaller shape.",
        )
