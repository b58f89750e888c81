"""Studies: the trials of one search, as Optuna keeps them, shared by all processes that take part in it."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
import psutil
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from attncc.tune.outcome import Outcome, Places
from attncc.tune.trials import quiet

#: Minutes for which a trial that another host began counts as under way.
UNDER_WAY = 10

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, eq=False)
class Asked:
    """A trial of this process that is under way, and its candidate."""

    places: Places
    trial: optuna.Trial


@dataclass(frozen=True, eq=False)
class Study:
    """Trials over parameters with so many values each; candidates are places in the ordered lists of values."""

    study: optuna.Study
    counts: Mapping[str, int]

    @classmethod
    def of(cls, storage: BaseStorage, name: str, counts: Mapping[str, int], seed: int) -> Study:
        """Open the study of a name, or begin it; trials whose process died are closed."""
        quiet()
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=0)
        study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, load_if_exists=True)
        made = cls(study, dict(counts))
        made._close_lost()
        return made

    def finished(self) -> dict[Places, Outcome]:
        """Return what is known of each candidate that was evaluated, by any process."""
        found = {}
        for trial in self.study.get_trials(deepcopy=False, states=FINISHED):
            if "samples" in trial.user_attrs:
                found[self._places(trial)] = _outcome(trial)
        return found

    def elsewhere(self) -> set[Places]:
        """Return the candidates that another living process evaluates now."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {self._places(trial) for trial in running if not _is_own(trial) and _lives(trial)}

    def ask(self) -> Asked:
        """Return the sampler's next proposal; it may be a candidate that was finished before."""
        return self._owned(self.study.ask(self._distributions))

    def begin(self, places: Places) -> Asked:
        """Begin a trial of a given candidate."""
        self.study.enqueue_trial(dict(zip(self.counts, places, strict=True)))
        return self._owned(self.study.ask(self._distributions))

    def tell(self, asked: Asked, outcome: Outcome) -> None:
        """Close a trial with what was found; one that had no time counts as not tried."""
        if outcome.is_late:
            self.study.tell(asked.trial, state=TrialState.FAIL)
            return
        asked.trial.set_user_attr("reason", outcome.reason)
        asked.trial.set_user_attr("resources", [dict(each) for each in outcome.resources])
        asked.trial.set_user_attr("samples", list(outcome.samples))
        self.repeat(asked, outcome)

    def repeat(self, asked: Asked, outcome: Outcome) -> None:
        """Close a trial of a candidate with an earlier trial's outcome."""
        asked.trial.set_constraint("runs", 0.0 if outcome.seconds is not None else 1.0)
        if outcome.seconds is None:
            self.study.tell(asked.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(asked.trial, outcome.seconds)

    def refuse(self, asked: Asked) -> None:
        """Close a trial that the space's constraints exclude."""
        asked.trial.set_constraint("feasible", 1.0)
        self.study.tell(asked.trial, state=TrialState.PRUNED)

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {name: IntDistribution(0, count - 1) for name, count in self.counts.items()}

    def _owned(self, trial: optuna.Trial) -> Asked:
        trial.set_user_attr("owner", _owner())
        return Asked(tuple(int(trial.params[name]) for name in self.counts), trial)

    def _places(self, trial: FrozenTrial) -> Places:
        return tuple(int(trial.params.get(name, -1)) for name in self.counts)

    def _close_lost(self) -> None:
        """Close the trials of this host's dead processes: nobody else will."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _lives(trial):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _outcome(trial: FrozenTrial) -> Outcome:
    told = trial.user_attrs
    seconds = trial.value if trial.state is TrialState.COMPLETE else None
    return Outcome(seconds, tuple(told["samples"]), str(told.get("reason", "")), tuple(told.get("resources", ())))


def _owner() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "began": psutil.Process().create_time()}


def _is_own(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get("owner") == _owner()


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
