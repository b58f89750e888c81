"""Studies: the trials of one search, as Optuna keeps them, shared by all processes that take part in it."""

from __future__ import annotations

import datetime
import functools
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import optuna
import psutil
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from attncc.errors import AttnccError, ConfigError
from attncc.tune.evaluation import Outcome
from attncc.tune.space import Point

#: Minutes for which a trial that another host began counts as under way.
UNDER_WAY = 10

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _of_storage(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make a ConfigError of what Optuna, SQLAlchemy and drivers raise where a storage fails, or holds what it can't."""

    @functools.wraps(method)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(*args, **kwargs)
        except AttnccError:
            raise
        except Exception as error:
            said = str(error).partition("\n")[0][:200]
            raise ConfigError(
                f"The trials can't be read or written: {type(error).__name__}: {said}.",
                rule="They are kept in the log of the cache, or in the database that --storage names.",
                fix="Name another --storage, or restore the database from a copy.",
            ) from error

    return guarded


@dataclass(frozen=True, eq=False)
class RunningTrial:
    """A trial of this process that is under way, and its candidate."""

    point: Point
    trial: optuna.Trial


@dataclass(frozen=True, eq=False)
class Study:
    """Trials over parameters, each with a count of values; a point has the index of one value of each."""

    study: optuna.Study
    counts: Mapping[str, int]

    @classmethod
    @_of_storage
    def of(cls, storage: BaseStorage, name: str, counts: Mapping[str, int], seed: int) -> Study:
        """Open the study of a name, or begin it; trials whose process died are closed."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # attncc shows the trials itself
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=0)
        study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, load_if_exists=True)
        made = cls(study, dict(counts))
        made._close_lost()
        return made

    @_of_storage
    def finished(self) -> dict[Point, Outcome]:
        """Return what is known of each candidate that was evaluated, by any process."""
        outcomes = {}
        for trial in self.study.get_trials(deepcopy=False, states=FINISHED):
            point, outcome = self._point(trial), _outcome(trial)
            if outcome is not None and self._has(point):
                outcomes[point] = outcome
        return outcomes

    @_of_storage
    def elsewhere(self) -> set[Point]:
        """Return the candidates that another living process evaluates now."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        others = (trial for trial in running if trial.user_attrs.get("owner") != _owner())
        return {self._point(trial) for trial in others if _lives(trial)}

    @_of_storage
    def ask(self) -> RunningTrial:
        """Return the sampler's next proposal; it may be a candidate that was finished before."""
        return self._owned(self.study.ask(self._distributions))

    @_of_storage
    def begin(self, point: Point) -> RunningTrial:
        """Begin a trial of a given candidate."""
        self.study.enqueue_trial(dict(zip(self.counts, point, strict=True)))
        return self._owned(self.study.ask(self._distributions))

    @_of_storage
    def tell(self, running: RunningTrial, outcome: Outcome) -> None:
        """Close a trial with its outcome; one that had no time counts as not tried."""
        if outcome.is_late:
            self.study.tell(running.trial, state=TrialState.FAIL)
            return
        running.trial.set_user_attr("reason", outcome.reason)
        running.trial.set_user_attr("resources", [dict(each) for each in outcome.resources])
        running.trial.set_user_attr("samples", list(outcome.samples))
        self.repeat(running, outcome)

    @_of_storage
    def repeat(self, running: RunningTrial, outcome: Outcome) -> None:
        """Close a trial of a candidate with an earlier trial's outcome."""
        running.trial.set_constraint("runs", 0.0 if outcome.seconds is not None else 1.0)
        if outcome.seconds is None:
            self.study.tell(running.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(running.trial, outcome.seconds)

    @_of_storage
    def refuse(self, running: RunningTrial) -> None:
        """Close a trial that the space's constraints exclude."""
        running.trial.set_constraint("feasible", 1.0)
        self.study.tell(running.trial, state=TrialState.PRUNED)

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {name: IntDistribution(0, count - 1) for name, count in self.counts.items()}

    def _owned(self, trial: optuna.Trial) -> RunningTrial:
        trial.set_user_attr("owner", _owner())
        return RunningTrial(tuple(int(trial.params[name]) for name in self.counts), trial)

    def _point(self, trial: FrozenTrial) -> Point:
        return tuple(int(trial.params.get(name, -1)) for name in self.counts)

    def _has(self, point: Point) -> bool:
        """Return whether a candidate is one of the space's."""
        return all(0 <= index < count for index, count in zip(point, self.counts.values(), strict=True))

    def _close_lost(self) -> None:
        """Close the trials of this host's dead processes: nobody else will."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _lives(trial):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _outcome(trial: FrozenTrial) -> Outcome | None:
    """Return the outcome that a trial holds; None where it holds none, or what no trial writes."""
    told = trial.user_attrs
    seconds = trial.value if trial.state is TrialState.COMPLETE else None
    samples, resources = told.get("samples"), told.get("resources", [])
    if not isinstance(samples, list) or not isinstance(resources, list):
        return None
    if not all(map(_is_time, samples if seconds is None else [*samples, seconds])):
        return None
    if not all(isinstance(each, dict) for each in resources):
        return None
    return Outcome(seconds, tuple(samples), str(told.get("reason", "")), tuple(resources))


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _owner() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "began": psutil.Process().create_time()}


def _lives(trial: FrozenTrial) -> bool:
    """Return whether the process that runs a trial may still end it."""
    owner = trial.user_attrs.get("owner")
    if not isinstance(owner, dict) or owner.get("host") != platform.node():
        age = datetime.datetime.now() - (trial.datetime_start or datetime.datetime.min)
        return age < datetime.timedelta(minutes=UNDER_WAY)
    try:
        return bool(abs(psutil.Process(owner["pid"]).create_time() - owner["began"]) < 1.0)
    except (psutil.Error, TypeError, ValueError, KeyError):
        return False
