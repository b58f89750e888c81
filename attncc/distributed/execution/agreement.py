"""Agreement: whether all ranks have the same schedule, and bring the same sizes, before anything is exchanged by it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from attncc.distributed.execution.channel import Channel
from attncc.distributed.schedules.schedule import Moves, Schedule
from attncc.errors import DistributedError

#: Types that tensors may have, by the numbers that ranks tell each other.
DTYPES = sorted({x for x in vars(torch).values() if isinstance(x, torch.dtype) and x.is_floating_point}, key=str)
_DIGEST = hashlib.sha256().digest_size


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
    """Whether all ranks have the same digest, asked once.

    channels: those of a mesh, one a dimension, in the same order on all ranks, whose product is all ranks.
    """

    def __init__(self, own: str, channels: Sequence[Channel], device: torch.device) -> None:
        self._own, self._channels, self._device = own, channels, device
        self._settled = False

    def settle(self) -> None:
        """Raise DistributedError on every rank, naming those that differ, unless all agree. Collective at first."""
        if not self._settled:
            _check(_known(self._own, self._channels, self._device))
            self._settled = True


class Sizes(NamedTuple):
    """Of a rank's query, key and value, those that all ranks of a sequence have alike: all but the tokens."""

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: torch.dtype

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor) -> Sizes:
        """Return the sizes of some tensors."""
        return cls(query.shape[0], query.shape[1], key.shape[1], query.shape[3], value.shape[3], query.dtype)

    def __str__(self) -> str:
        return (
            f"batch {self.batch}, {self.heads} heads of {self.head_dim}, {self.kv_heads} key heads, value heads of "
            f"{self.value_dim}, {str(self.dtype).removeprefix('torch.')}"
        )


def check_alike(sizes: Sizes, channel: Channel, device: torch.device) -> None:
    """Raise DistributedError on every rank of a channel unless all have these sizes. Collective."""
    own = torch.tensor([dist.get_rank(), *sizes[:-1], DTYPES.index(sizes.dtype)], device=device)
    rows = [row.tolist() for row in channel.gathered("the comparison of sizes", own)]
    found = {row[0]: Sizes._make([*row[1:-1], DTYPES[row[-1]]]) for row in sorted(rows)}
    if len(set(found.values())) > 1:
        listed = "; ".join(f"rank {rank} has {each}" for rank, each in found.items())
        raise DistributedError(
            f"Ranks that share a sequence bring different tensors: {listed}.",
            rule="They have the same batch entries and heads, in one type.",
        )


def _known(own: str, channels: Sequence[Channel], device: torch.device) -> dict[int, str]:
    """Return the digests of all ranks."""
    entry = np.frombuffer(np.int64(dist.get_rank()).tobytes() + bytes.fromhex(own), np.uint8).copy()
    known = torch.from_numpy(entry).to(device)
    for channel in channels:
        known = torch.cat(channel.gathered("the comparison of schedules", known))
    entries = known.cpu().numpy().reshape(-1, 8 + _DIGEST)
    return {int(entry[:8].copy().view(np.int64)[0]): entry[8:].tobytes().hex() for entry in entries}


def _check(found: dict[int, str]) -> None:
    usual = Counter(found[rank] for rank in sorted(found)).most_common(1)[0][0]
    differing = [rank for rank in sorted(found) if found[rank] != usual]
    if differing:
        listed = ", ".join(f"rank {rank} has {found[rank][:12]}" for rank in differing)
        raise DistributedError(
            f"The schedules of ranks differ: {listed}; the others have {usual[:12]}.",
            rule="All ranks compile the same pattern (its tables too), length, sizes, settings and score.",
            fix="Make tables on one rank and broadcast them, or from the same seed everywhere.",
        )


def _columns(moves: Moves) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    return moves.round, moves.source, moves.target, moves.unit
