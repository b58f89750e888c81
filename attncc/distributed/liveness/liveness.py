"""Liveness: an exchange that fails, or takes too long, names the rank that died or hangs; the same on all ranks."""

from __future__ import annotations

import hashlib
import numbers
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed.distributed_c10d import _get_default_store

from attncc.distributed.liveness.failure_report import FailureReport
from attncc.distributed.liveness.monitor import GRACE as GRACE
from attncc.distributed.liveness.monitor import Monitor, RankInfo
from attncc.errors import DistributedError

#: One monitor a world, as long as its process group lives.
_monitors: weakref.WeakKeyDictionary[dist.ProcessGroup, Monitor] = weakref.WeakKeyDictionary()

#: Seconds that an exchange may be given: process groups count milliseconds, in 64 bits of nanoseconds.
SHORTEST, LONGEST = 1e-3, 1e9

#: RuntimeErrors that say nothing about other ranks.
_LOCAL = (torch.OutOfMemoryError, NotImplementedError, RecursionError)


class Liveness:
    """Watches over the exchanges of a group; every rank of it must come to the same guards in the same order.

    A rank sends a heartbeat to the world's store each second, from its first guard on. When an exchange fails or
    times out, that rank compares two readings of these. The first failure report in the store holds for all, so each
    rank raises within `timeout` and GRACE, both in seconds. The timeout becomes the group's own, by default it stays
    that: gloo keeps a process from ending until it has passed.
    Raises DistributedError for a timeout that isn't a number of seconds.
    With NCCL set TORCH_NCCL_BLOCKING_WAIT=1, or a wait returns at once and torch's watchdog ends the process.
    """

    def __init__(self, group: dist.ProcessGroup, timeout: float | None = None) -> None:
        self.group = group
        self.timeout = None if timeout is None else _duration(timeout)
        self._ranks: list[int] = dist.get_process_group_ranks(group)
        self._key = hashlib.sha256(f"{group.group_name} {self._ranks}".encode()).hexdigest()[:16]
        if self.timeout is not None:
            group.set_timeout(self.timeout)
        self._monitor = _monitor()
        self._monitor.acquire()
        weakref.finalize(self, self._monitor.release)

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Turn a failure of torch.distributed within into a DistributedError about `what`, such as "round 2"."""
        monitor = self._monitor
        if monitor.failure_report is not None:
            raise self._error(what, monitor.failure_report, None)
        monitor.enter(self._key, what)
        try:
            yield
        except _LOCAL:
            raise
        except RuntimeError as error:
            failure_report = monitor.diagnose(self._ranks, self._key)
            monitor.linger()
            raise self._error(what, failure_report, error) from error
        finally:
            monitor.leave()

    def wait(self, work: dist.Work) -> None:
        """Wait for what was posted, no longer than the timeout; to be guarded."""
        if self.timeout is None:
            work.wait()
        else:
            work.wait(self.timeout)

    def _error(self, what: str, failure_report: FailureReport | None, cause: RuntimeError | None) -> DistributedError:
        here = f"{what}, on rank {self._monitor.rank_info.rank}"
        if failure_report is None:
            return DistributedError(
                f"An exchange failed though every rank is alive and takes part: {cause} ({here})",
                rule="Each rank must reach every other of its group within the timeout.",
                fix="Look at the network between the ranks, or give a longer timeout.",
            )
        name = "Another process" if failure_report.rank is None else f"Rank {failure_report.rank}"
        return DistributedError(
            f"{name} {failure_report.why} ({here}).",
            rule="An exchange takes every rank of its group.",
            fix=f"See what {name[0].lower()}{name[1:]} printed last, and start again from a checkpoint.",
            rank=failure_report.rank,
        )


def _duration(timeout: float) -> timedelta:
    if not isinstance(timeout, numbers.Real) or isinstance(timeout, bool) or not SHORTEST <= timeout <= LONGEST:
        raise DistributedError(
            f"timeout={timeout!r}.",
            rule=f"It is a number of seconds, {SHORTEST:g} to {LONGEST:g}.",
            fix="For example 60.",
        )
    return timedelta(seconds=float(timeout))


def _monitor() -> Monitor:
    """Return the monitor of the world that this process is in."""
    world = dist.group.WORLD
    assert world is not None  # there is a group, so there is a world
    if world not in _monitors:
        store: Any = _get_default_store()  # torch's annotations know no clone()
        rank_info = RankInfo(dist.get_rank(), dist.get_world_size(), _host(store))
        _monitors[world] = Monitor(lambda: PrefixStore("attncc/liveness", store.clone()), rank_info)
    return _monitors[world]


def _host(store: Store) -> int | None:
    """Return the rank whose process holds a store: 0 where torchrun's agent or a file doesn't."""
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return 0 if isinstance(store, TCPStore) and not agent else None
