"""Collective tuning: rank 0 tunes a schedule, the other ranks run what it asks for, and all get its result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist

from attncc import targets
from attncc.configs.entry import Entry
from attncc.distributed.topology import Topology
from attncc.errors import AttnccError, ConfigError, DistributedError
from attncc.tune.budget import Budget
from attncc.tune.listener import Listener
from attncc.tune.options import TuningOptions
from attncc.tune.ranks import Ranks
from attncc.tune.result import TaskResult, TuningResult
from attncc.tune.schedule_task import ScheduleTask
from attncc.tune.stored import stored_or_tuned

#: How long ranks wait for rank 0, which simulates meanwhile.
PATIENCE = timedelta(hours=12)


def tuned_by_ranks(task: ScheduleTask, options: TuningOptions, listener: Listener) -> TuningResult:
    """Return the stored result, or tune: rank 0 decides, the others run what it asks. All ranks return the same.

    Collective. What tuning raises on rank 0 is a DistributedError on the others.
    """
    with _joined(task, options.seed) as ranks:
        follows = dist.get_rank() != 0
        result = _followed(task, ranks) if follows else _led(replace(task, ranks=ranks), ranks, options, listener)
    return TuningResult([result], listener.is_cancelled())


def _led(task: ScheduleTask, ranks: Ranks, options: TuningOptions, listener: Listener) -> TaskResult:
    """Answer as rank 0, and tell the others."""
    budget = Budget(task.allowance(options).seconds, listener.is_cancelled)
    try:
        result = stored_or_tuned(task, options, listener, budget)
    except DistributedError:  # of all ranks, which have stopped listening
        raise
    except AttnccError as error:
        ranks.tell({"failed": error.problem, "fix": error.fix})
        raise
    ranks.tell({"entry": result.entry.describe(), "source": result.source, "trials_run": result.trials_run})
    return result


def _followed(task: ScheduleTask, ranks: Ranks) -> TaskResult:
    """Serve rank 0, and return its answer."""
    answer = ranks.listen()
    if "failed" in answer:
        raise DistributedError(
            f"Rank 0 could not tune: {answer['failed']}", rule="Rank 0 tunes; the others run.", fix=answer["fix"]
        )
    return TaskResult(task, Entry.parse(answer["entry"]), answer["source"], answer["trials_run"])


@contextmanager
def _joined(task: ScheduleTask, seed: int) -> Iterator[Ranks]:
    """Yield all ranks of the world, which run schedules of a task; end the world if it began here. Collective."""
    device = _device(task.topology)
    begins = not dist.is_initialized()
    if begins:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(control, dist.ProcessGroup)
        yield Ranks(task.scenario, seed, device, control)
        dist.barrier(control)
    finally:
        if begins:
            dist.destroy_process_group()


def _device(topology: Topology) -> torch.device:
    if not all(targets.target(name).gpu for name in topology.targets):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"Topology {topology.name!r} is of {', '.join(topology.targets)}, and this rank has no GPU.",
            rule="Schedules are measured on the devices of the topology.",
            fix="Leave --measure out, or choose a topology of CPUs.",
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
