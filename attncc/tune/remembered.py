"""Remembered: the answer of an earlier tuning, found without loading what tunes."""

from __future__ import annotations

from attncc.configs.store import user_store
from attncc.tune import sources
from attncc.tune.job import Job
from attncc.tune.options import EFFORTS, Options
from attncc.tune.result import Result


def remembered(job: Job, options: Options) -> Result | None:
    """Return what was found with the same space and no less effort; measured, if that is what is asked for."""
    entry = user_store().load(job.environment, job.key)
    if entry is None or entry.space != sources.digest(job.backend, options.space):
        return None
    if options.mode == "measured" and entry.mode == "modelled":
        return None
    efforts = list(EFFORTS[options.mode])
    if efforts.index(entry.effort) < efforts.index(options.effort) or entry.trials < (options.trials or 0):
        return None
    return Result(job, entry, "cached", 0)
