"""Remembered: the answer of an earlier tuning, found without loading what tunes."""

from __future__ import annotations

from attncc.configs.store import user_store
from attncc.tune import sources
from attncc.tune.options import LEVELS, Options
from attncc.tune.result import Result
from attncc.tune.subject import Job


def remembered(job: Job, options: Options) -> Result | None:
    """Return what was found with the same space and no less effort; measured, if that is what is asked for.

    Where every candidate of the space was tried, more trials would find nothing else.
    """
    entry = user_store().load(job.environment, job.key)
    if entry is None or entry.space != sources.digest(job.backend, options.space):
        return None
    if options.mode == "measured" and entry.mode == "modelled":
        return None
    if _level(entry.effort) < LEVELS.index(options.effort):
        return None
    if entry.trials < (options.trials or 0) and not entry.is_complete:
        return None
    return Result(job, entry, "cached", 0)


def _level(effort: str) -> int:
    return LEVELS.index(effort) if effort in LEVELS else -1
