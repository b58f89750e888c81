"""Remembered: the answer of an earlier tuning, found without loading what tunes."""

from __future__ import annotations

import math

from attncc.configs.entry import Entry
from attncc.configs.store import user_store
from attncc.tune import sources
from attncc.tune.options import LEVELS, Options
from attncc.tune.result import Result
from attncc.tune.subject import Job


def remembered(job: Job, options: Options) -> Result | None:
    """Return what was found with the same space and no less effort; measured, if that is what is asked for.

    Where every candidate of the space was tried, more trials or time would find nothing else; where time ended the
    search, a greater budget goes on.
    """
    entry = user_store().load(job.environment, job.key)
    if entry is None or entry.space != sources.digest(job.backend, options.space):
        return None
    if options.mode == "measured" and entry.mode == "modelled":
        return None
    if _level(entry.effort) < LEVELS.index(options.effort):
        return None
    if not entry.is_complete and (entry.trials < (options.trials or 0) or _time_of(entry) < (options.budget or 0.0)):
        return None
    return Result(job, entry, "cached", 0)


def _time_of(entry: Entry) -> float:
    """Return the budget that ended the search of an entry, which is infinite where something else did."""
    budget = entry.about.get("budget")
    return float(budget) if isinstance(budget, int | float) else math.inf


def _level(effort: str) -> int:
    return LEVELS.index(effort) if effort in LEVELS else -1
