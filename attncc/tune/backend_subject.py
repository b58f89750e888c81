"""A backend on a device, as the search sees it: candidates by the cost model, tried on the device or a model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from attncc import backends
from attncc.planner.options import separated
from attncc.tune.backend_kinds import backend_kind
from attncc.tune.facts import facts
from attncc.tune.job import Job
from attncc.tune.kind import Candidate
from attncc.tune.measured import Measured
from attncc.tune.measurement import Policy
from attncc.tune.modelled import Modelled
from attncc.tune.options import Options
from attncc.tune.outcome import Config, Evaluator
from attncc.tune.place import devices
from attncc.tune.search import Ranked
from attncc.tune.space import Space
from attncc.tune.subject import OnStep


@dataclass(frozen=True, eq=False)
class BackendSubject:
    """A job of a backend, and how it is tuned."""

    job: Job
    options: Options
    on_step: OnStep = lambda step: None

    @cached_property
    def default(self) -> Candidate:
        """What runs without any config; raises ConfigError for a backend that can't be tuned, or inputs beyond it."""
        job = self.job
        return backend_kind(job.backend).default(job.direction, job.inputs, job.facts)

    @cached_property
    def facts(self) -> Mapping[str, object]:
        """Facts of the plan, the inputs and the target."""
        return facts(self.job.plan, self.job.inputs, self.job.facts)

    @property
    def dense(self) -> bool:
        """Whether dense attention is the baseline; the library's takes no score."""
        return self.job.is_plain

    @property
    def expected_error(self) -> float | None:
        """The model's, where it is asked."""
        return backends.known(self.job.backend).expected_error if self.options.mode == "modelled" else None

    def ranked(self, space: Space) -> Sequence[Ranked]:
        """Return the feasible candidates by prediction; of those that are predicted alike, one goes first."""
        priced = [Ranked(predicted(self.job, each), space.index(each)) for each in space.feasible(self.facts)]
        return _distinct_first(sorted(priced, key=lambda each: (each.seconds, space.changes(each.places))))

    def proposed(self) -> Sequence[Candidate]:
        """Return nothing: the ranking says it all."""
        return ()

    def evaluator(self, left: Callable[[], float]) -> Evaluator:
        """Return devices of this machine, or the model of one that isn't here."""
        if self.options.mode == "modelled":
            return Modelled(self.job, self.options.workers, self.on_step)
        on = devices(self.job.device, self.job.target, self.options.workers)
        return Measured(self.job, self.default, self.options.seed, Policy(), on, left, self.on_step)


def _distinct_first(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Put candidates of one prediction, which most often run alike, behind the first of them and all others."""
    first = {each.seconds: each for each in reversed(ranked)}
    return [*(first[seconds] for seconds in sorted(first)), *(each for each in ranked if first[each.seconds] != each)]


def predicted(job: Job, config: Config) -> float:
    """Return the seconds that the backend's cost model predicts."""
    choice, rest = separated(config, job.direction)
    backend = backends.known(job.backend)
    plan = job.planned(choice.tile(backend.tile)).preferring(choice.plan)
    return backend.predict(plan, job.inputs, job.direction, rest, job.facts)
