"""Agreement: what ranks compare before they exchange tensors: schedules, messages, sizes and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from attncc.distributed.execution.channel import Channel, gathered_rows
from attncc.distributed.execution.tables import Message, RankTables
from attncc.distributed.liveness.failure_report import named, outliers
from attncc.distributed.schedules.schedule import Schedule
from attncc.errors import DistributedError
from attncc.ir.tables import Array
from attncc.planner.directions import DIRECTIONS, FORWARD

#: Rows of numbers hold a digest in this many 64-bit words.
_WORDS = hashlib.sha256().digest_size // 8

#: A message, the positions of the stores that its rows are in, and what else its place in the exchange depends on.
Item = tuple[Message, tuple[Array, ...], bytes]

#: Types that tensors may have; ranks tell each other their index here.
DTYPES = sorted({x for x in vars(torch).values() if isinstance(x, torch.dtype) and x.is_floating_point}, key=str)


def digest(schedule: Schedule, facts: Sequence[object]) -> str:
    """Return the SHA-256 of a schedule, and of other facts that ranks must agree on, by their text."""
    sha = hashlib.sha256(repr([str(fact) for fact in facts]).encode())
    partition, classes = schedule.partition, schedule.head_classes
    sha.update(partition.digest + repr((partition.ranks, schedule.rounds, len(classes))).encode())
    arrays = []
    for heads in classes:
        arrays.append(np.empty((0, 2), np.int64) if heads.members is None else heads.members)
        for moves in (heads.keys, heads.queries):
            arrays += [moves.round, moves.source, moves.target, moves.unit]
        sizes = [(task.rank, task.round, len(task.queries), len(task.keys)) for task in heads.tasks]
        units = [side for task in heads.tasks for side in (task.queries, task.keys)]
        arrays += [np.array(sizes, np.int64), np.concatenate([np.empty(0, np.int64), *units])]
        arrays += [] if heads.chosen is None else heads.chosen.positions
    for array in arrays:
        sha.update(np.int64(array.size).tobytes() + np.ascontiguousarray(array, np.int64).tobytes())
    return sha.hexdigest()


class Agreement:
    """Whether all ranks have the same digest, and each expects what the others send it; compared once.

    Attributes:
        own: The digest of this rank.
        manifest: Makes the manifest of this rank, about `peers` ranks at most.
        channels: Of the mesh, one a dimension, in the same order on all ranks, whose product is all ranks.
    """

    def __init__(
        self, own: str, manifest: Callable[[], Manifest], peers: int, channels: Sequence[Channel], device: torch.device
    ) -> None:
        self._own, self._manifest, self._peers = own, manifest, peers
        self._channels, self._device = channels, device
        self._settled = False

    def prepare(self) -> None:
        """Make the row of numbers of this rank, so that `settle` needn't."""
        assert self._row

    def settle(self) -> None:
        """Raise DistributedError on every rank, naming those that differ, unless all agree. Collective at first."""
        if not self._settled:
            rows = gathered_rows(self._row, self._channels, self._device, "the comparison of schedules")
            _check_digests({rank: np.array(row[:_WORDS], np.int64).tobytes().hex() for rank, *row in rows})
            check_manifests({rank: Manifest.of_row(row[_WORDS:]) for rank, *row in rows})
            self._settled = True

    @cached_property
    def _row(self) -> list[int]:
        words = np.frombuffer(bytes.fromhex(self._own), np.int64)
        return [dist.get_rank(), *words.tolist(), *self._manifest().row(self._peers)]


def _check_digests(digests: dict[int, str]) -> None:
    differing = outliers(digests)
    if differing:
        usual = next(digests[rank] for rank in digests if rank not in differing)
        listed = ", ".join(f"rank {rank} has {digests[rank][:12]}" for rank in differing)
        raise DistributedError(
            f"The schedules of ranks differ: {listed}; the others have {usual[:12]}.",
            rule="All ranks compile the same pattern (its tables too), length, sizes, settings and score.",
            fix="Make tables on one rank and broadcast them, or from the same seed everywhere.",
        )


@dataclass(frozen=True, eq=False)
class Manifest:
    """What a rank sends to each rank that it exchanges with, itself among them, and what it expects of it.

    Attributes:
        entries: int64 (ranks, 5): a rank's number in the world, then the number of rows and a digest of what is sent,
            and of what is expected, in all rounds. Digests are of the rows' positions in the order of messages, which
            come from the gathers that take tensors apart and put them together. Backwards go the same ways.
    """

    entries: Array

    @classmethod
    def of(cls, tables: RankTables, peers: Sequence[int]) -> Manifest:
        """Return the manifest of a rank, given its tables and the numbers in the world of the ranks they are about."""
        ends = (_summary(_items(tables, away=away), len(peers)) for away in (True, False))
        return cls(np.column_stack([np.array(peers, np.int64), *ends]))

    def row(self, peers: int) -> list[int]:
        """Return it as the row of numbers of a manifest of `peers` ranks, missing ones as -1."""
        missing = np.full((peers - len(self.entries), 5), -1)
        row: list[int] = np.concatenate([self.entries, missing]).reshape(-1).tolist()
        return row

    @classmethod
    def of_row(cls, row: Sequence[int]) -> Manifest:
        """Return the manifest that a row was made of."""
        entries = np.array(row, np.int64).reshape(-1, 5)
        return cls(entries[entries[:, 0] >= 0])


def check_manifests(manifests: Mapping[int, Manifest]) -> None:
    """Raise DistributedError, naming both ends, unless every rank expects what the others send it."""
    source = np.repeat(list(manifests), [len(manifest.entries) for manifest in manifests.values()])
    target, *columns = np.concatenate([manifest.entries for manifest in manifests.values()]).T
    sent, expected = (np.lexsort(ends) for ends in ((target, source), (source, target)))
    wrong = (columns[0][sent] != columns[2][expected]) | (columns[1][sent] != columns[3][expected])
    if wrong.any():
        ends = (x[wrong] for x in (source[sent], target[sent], columns[0][sent], columns[2][expected]))
        raise DistributedError(
            "; ".join(_mismatch(*end) for end in zip(*ends, strict=True)) + ".",
            rule="What a rank sends another is what that one expects of it, in the same order.",
            fix="Run the same version of attncc on all ranks; if they do, please report this.",
        )


def _mismatch(source: int, target: int, sent: int, expected: int) -> str:
    wanted = "as many others" if sent == expected else f"{expected}"
    return f"Rank {source} sends rank {target} {sent} rows in all, which expects {wanted}"


def _items(tables: RankTables, *, away: bool) -> Iterator[Item]:
    """Yield what a rank sends, or gets, in the order of its messages."""
    classes = list(enumerate(tables.head_classes))
    for round_ in range(1, tables.rounds + 1):
        for number, heads in classes:
            for name, side in (("keys", heads.keys), ("queries", heads.queries)):
                place = f"{round_} {number} {name} {heads.subset}".encode()
                yield from ((message, side.stores, place) for message in (side.sends if away else side.gets)[round_])
    for number, heads in classes:
        place = f"results {number} {heads.subset}".encode()
        yield from ((message, heads.queries.stores, place) for message in (heads.returned if away else heads.awaited))


def _summary(items: Iterator[Item], ranks: int) -> Array:
    rows, hashes = np.zeros(ranks, np.int64), [hashlib.sha256() for _ in range(ranks)]
    for message, stores, place in items:
        positions = message.rows.positions(stores)
        rows[message.peer] += len(positions)
        hashes[message.peer].update(place + b" %d " % len(positions) + positions.tobytes())
    return np.stack([rows, [_word(sha) for sha in hashes]], 1)


class CallSizes(NamedTuple):
    """Sizes of query, key and value that all ranks of a sequence have alike: all but the tokens.

    Attributes:
        gradients: Whether a backward may follow, in which all ranks take part, too.
    """

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: torch.dtype
    gradients: bool

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor] = ()) -> CallSizes:
        """Return the sizes of some tensors."""
        gradients = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value, *weights))
        dims = query.shape[0], query.shape[1], key.shape[1], query.shape[3], value.shape[3]
        return cls(*dims, query.dtype, gradients)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that a call runs."""
        return DIRECTIONS if self.gradients else (FORWARD,)

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"batch {self.batch}, {self.heads} heads of {self.head_dim}, {self.kv_heads} key heads, value heads of "
            f"{self.value_dim}, {kind}, {'with' if self.gradients else 'no'} gradients"
        )


def check_same_sizes(sizes: CallSizes, channel: Channel, device: torch.device) -> None:
    """Raise DistributedError on every rank of a channel unless all have these sizes. Collective."""
    *dims, dtype, gradients = sizes
    row = [dist.get_rank(), *dims, DTYPES.index(dtype), int(gradients)]
    rows = gathered_rows(row, [channel], device, f"the comparison of sizes, {sizes}")
    by_rank = {rank: CallSizes._make([*dims, DTYPES[kind], bool(wanted)]) for rank, *dims, kind, wanted in rows}
    if len(set(by_rank.values())) > 1:
        listed = "; ".join(f"rank {rank} has {own}" for rank, own in by_rank.items())
        raise DistributedError(
            f"Ranks that share a sequence bring different tensors: {listed}.",
            rule="They have the same batch entries and heads, in one type, and all want gradients or none does.",
            fix="Cut each rank's from tensors of one size and dtype, for example with op.shard(x).",
        )


def check_whole_weights(weights: Mapping[str, Tensor]) -> None:
    """Raise DistributedError for weights of which a rank has a shard."""
    for name, tensor in weights.items():
        from torch.distributed.tensor import DTensor  # takes a second, which those without weights needn't wait

        if isinstance(tensor, DTensor):
            raise DistributedError(
                f"Weights {name!r} of the score are a DTensor.",
                rule="Every rank has the whole of them, and its backward gives their gradient from what it computed.",
                fix="Compile before fully_shard(model), and call the attention in the model's forward; or keep them "
                "out: fully_shard(model, ignored_params={them}), and add their gradients up yourself.",
            )


def check_same_weights(weights: Mapping[str, Tensor], channels: Sequence[Channel], device: torch.device) -> None:
    """Raise DistributedError on every rank unless all have the same weights, type and values. Collective."""
    if not weights:
        return
    row = [dist.get_rank(), *map(_weights_digest, weights.values())]
    rows = gathered_rows(row, channels, device, "the comparison of weights")
    for slot, name in enumerate(weights, 1):
        differing = outliers({row[0]: row[slot] for row in rows})
        if differing:
            raise DistributedError(
                f"The weights {name!r} of the score differ on {named(differing)}.",
                rule="All ranks have the same weights, each the whole of them, in one type.",
                fix="Broadcast them from one rank before the first step, and add up their gradients in each.",
            )


def _weights_digest(x: Tensor) -> int:
    sha = hashlib.sha256(str(x.dtype).encode())
    own = x.detach().to("cpu", copy=True)  # a tensor that numpy has seen can't be resized, as FSDP does
    sha.update(own.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return _word(sha)


def _word(sha: hashlib._Hash) -> int:
    """Return the first 64 bits of a hash."""
    return int.from_bytes(sha.digest()[:8], "little", signed=True)
