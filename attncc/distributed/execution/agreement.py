"""Agreement: whether all ranks have the same schedule, and tables that fit together, before anything is exchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
import torch.distributed as dist

from attncc.distributed.execution.channel import Channel, told
from attncc.distributed.execution.manifest import Manifest, check_manifests
from attncc.distributed.liveness.odd import odd
from attncc.distributed.schedules.schedule import Moves, Schedule
from attncc.errors import DistributedError

#: Numbers that a digest is told as.
_WORDS = hashlib.sha256().digest_size // 8


def digest(schedule: Schedule, facts: Sequence[object]) -> str:
    """SHA-256 of a schedule, and of other facts that ranks must agree on, by their text."""
    found = hashlib.sha256(repr([str(fact) for fact in facts]).encode())
    cut, partition = schedule.partition.cut, schedule.partition
    found.update(repr((cut.length, cut.size, partition.ranks, schedule.rounds, len(schedule.lanes))).encode())
    arrays = [cut.axis.places, partition.owner]
    for lane in schedule.lanes:
        members = np.empty((0, 2), np.int64) if lane.members is None else lane.members
        arrays += [members, *_columns(lane.keys), *_columns(lane.queries)]
        for task in lane.tasks:
            arrays += [np.array([task.rank, task.round]), task.queries, task.keys]
    for array in arrays:
        found.update(np.int64(array.size).tobytes() + np.ascontiguousarray(array, np.int64).tobytes())
    return found.hexdigest()


class Agreement:
    """Whether all ranks have the same digest, and each expects what the others send it; asked once.

    manifest: makes this rank's, about `peers` ranks at most. channels: those of a mesh, one a dimension, in the same
    order on all ranks, whose product is all ranks.
    """

    def __init__(
        self, own: str, manifest: Callable[[], Manifest], peers: int, channels: Sequence[Channel], device: torch.device
    ) -> None:
        self._own, self._manifest, self._peers = own, manifest, peers
        self._channels, self._device = channels, device
        self._settled = False

    def prepare(self) -> None:
        """Make what this rank tells the others, so that `settle` needn't."""
        assert self._row

    def settle(self) -> None:
        """Raise DistributedError on every rank, naming those that differ, unless all agree. Collective at first."""
        if not self._settled:
            rows = told(self._row, self._channels, self._device, "the comparison of schedules")
            _check_digests({rank: np.array(row[:_WORDS], np.int64).tobytes().hex() for rank, *row in rows})
            check_manifests({rank: Manifest.of_row(row[_WORDS:]) for rank, *row in rows})
            self._settled = True

    @cached_property
    def _row(self) -> list[int]:
        words = np.frombuffer(bytes.fromhex(self._own), np.int64)
        return [dist.get_rank(), *words.tolist(), *self._manifest().row(self._peers)]


def _check_digests(found: dict[int, str]) -> None:
    differing = odd(found)
    if differing:
        usual = next(found[rank] for rank in found if rank not in differing)
        listed = ", ".join(f"rank {rank} has {found[rank][:12]}" for rank in differing)
        raise DistributedError(
            f"The schedules of ranks differ: {listed}; the others have {usual[:12]}.",
            rule="All ranks compile the same pattern (its tables too), length, sizes, settings and score.",
            fix="Make tables on one rank and broadcast them, or from the same seed everywhere.",
        )


def _columns(moves: Moves) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    return moves.round, moves.source, moves.target, moves.unit
