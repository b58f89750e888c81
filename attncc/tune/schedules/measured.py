"""Measured: rank 0 tunes, and all ranks run what it asks for and return the same."""

from __future__ import annotations

from functools import partial

import torch.distributed as dist

from attncc.configs.entry import Entry
from attncc.errors import AttnccError, DistributedError
from attncc.tune.budget import Budget
from attncc.tune.listener import Listener
from attncc.tune.options import Options
from attncc.tune.request import answer
from attncc.tune.result import Result, Results
from attncc.tune.schedules.job import ScheduleJob
from attncc.tune.schedules.subject import Ran
from attncc.tune.schedules.world import World, joined


def answered(job: ScheduleJob, options: Options, listener: Listener) -> Results:
    """Return what was found before, or tune: rank 0 decides, the others run what it asks; the same on all ranks.

    Collective. What tuning raises on rank 0 is a DistributedError on the others.
    """
    with joined(job, options.seed) as world:
        found = _led(job, options, world, listener) if dist.get_rank() == 0 else _followed(job, world)
    return Results([found], listener.is_cancelled())


def _led(job: ScheduleJob, options: Options, world: World, listener: Listener) -> Result:
    """Answer as rank 0, and tell the others."""
    on_step = partial(listener.on_step, job)
    budget = Budget(options.allowance.seconds, listener.is_cancelled)
    try:
        found = answer(job, options, lambda each: Ran(each, options, on_step, world=world), listener, budget)
    except DistributedError:  # of all ranks, which have stopped listening
        raise
    except AttnccError as error:
        world.tell({"failed": error.problem, "fix": error.fix})
        raise
    world.tell({"entry": found.entry.describe(), "source": found.source, "trials_run": found.trials_run})
    return found


def _followed(job: ScheduleJob, world: World) -> Result:
    """Serve rank 0, and return its answer."""
    told = world.listen()
    if "failed" in told:
        raise DistributedError(
            f"Rank 0 could not tune: {told['failed']}", rule="Rank 0 tunes; the others run.", fix=told["fix"]
        )
    return Result(job, Entry.parse(told["entry"]), told["source"], told["trials_run"])
