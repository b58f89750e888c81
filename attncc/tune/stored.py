"""Stored results: the answer of an earlier tuning, looked up without loading what tunes, or else a new one."""

from __future__ import annotations

import math

from attncc.configs.entry import Entry
from attncc.configs.store import user_store
from attncc.tune import space_files
from attncc.tune.budget import Budget
from attncc.tune.listener import Listener
from attncc.tune.options import LEVELS, TuningOptions
from attncc.tune.result import TaskResult
from attncc.tune.task import TuningTask


def stored_or_tuned(task: TuningTask, options: TuningOptions, listener: Listener, budget: Budget) -> TaskResult:
    """Return the stored result of a task, or else search for its best configuration and store that."""
    result = stored(task, options)
    if result is None:
        listener.on_step(task, "loading what runs it")
        from attncc.tune.tuning import Tuning  # it loads the sampler, and tasks what they run

        task = task.afresh()
        result = stored(task, options) or Tuning(task, options, listener, budget).result()
    listener.on_result(result)
    return result


def stored(task: TuningTask, options: TuningOptions) -> TaskResult | None:
    """Return the result of an earlier tuning with the same space and no less effort; it is measured if the task is.

    Where every candidate of the space was tried, more trials or time would find nothing else; where time ended the
    search, a greater budget goes on.
    """
    entry = None if options.force else user_store().load(task.environment, task.key)
    if entry is None or entry.space != space_files.digest(task.backend, options.space):
        return None
    if task.mode == "measured" and entry.mode == "modelled":
        return None
    if entry.effort not in LEVELS[LEVELS.index(options.effort) :]:
        return None
    if not entry.is_complete and (entry.trials < (options.trials or 0) or _time_of(entry) < (options.budget or 0.0)):
        return None
    return TaskResult(task, entry, "cached", 0)


def _time_of(entry: Entry) -> float:
    """Return the budget that ended the search of an entry, which is infinite where something else did."""
    budget = entry.about.get("budget")
    return float(budget) if isinstance(budget, int | float) else math.inf
