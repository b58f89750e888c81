"""Channels: exchanges within a group of ranks, watched over, so that one that fails names the rank that is to blame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import NamedTuple, Self

import torch
import torch.distributed as dist
from torch import Tensor

from attncc.distributed.execution.rows import DIM, with_rows
from attncc.distributed.execution.tables import Message
from attncc.distributed.liveness.liveness import Liveness

#: The tensors of each store of a rank, in the order of its stores.
Stores = list[Tensor]
Delivery = Callable[[Message, Sequence[Tensor]], None]


class Channel:
    """A group whose ranks all come to the same exchanges in the same order; each may take `timeout` seconds.

    Without a timeout it is the group's own limit. Raises DistributedError, here and in what it has posted.
    """

    def __init__(self, group: dist.ProcessGroup, timeout: float | None = None) -> None:
        self.group = group
        self._liveness = Liveness(group, timeout)

    @property
    def limit(self) -> timedelta:
        """The time limit of an exchange, as the group's backend has it."""
        kind = torch.device("cuda" if dist.get_backend(self.group) == "nccl" else "cpu")
        options = self.group._get_backend(kind).options
        limit: timedelta = options._timeout
        return limit

    @property
    def ranks(self) -> int:
        """Number of ranks of the group."""
        return self.group.size()

    def guard(self, what: str) -> AbstractContextManager[None]:
        """Watch over something else that all ranks of the group do together, under the same time limit."""
        return self._liveness.guard(what)

    def post(self, what: str, start: Callable[[], dist.Work | None]) -> Posted:
        """Start an exchange, which errors call `what`, without waiting for it."""
        with self.guard(what):
            work = start()
        assert work is not None
        return Posted(self._liveness, what, work)

    def gathered(self, what: str, x: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, which have one shape."""
        parts = [torch.empty_like(x) for _ in range(self.ranks)]
        self.post(what, lambda: dist.all_gather(parts, x, group=self.group, async_op=True)).wait()
        return parts


@dataclass(frozen=True, eq=False)
class Posted:
    """An operation of torch.distributed that was started."""

    liveness: Liveness
    what: str
    work: dist.Work

    def wait(self) -> None:
        """Return when it is done."""
        with self.liveness.guard(self.what):
            self.liveness.wait(self.work)


class Expected(NamedTuple):
    """A tensor that a rank of the group sends."""

    peer: int
    shape: Sequence[int]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * self.dtype.itemsize


class PendingExchange:
    """Tensors that a rank sends and gets in one exchange of bytes, while something else is computed.

    What a rank sends to another and what that one expects of it have the same order, shapes and types.
    """

    def __init__(self) -> None:
        self._sent: list[tuple[int, Tensor]] = []
        self._expected: list[Expected] = []
        self._deliveries: list[tuple[Delivery, Message, int]] = []
        self._posted: Posted | None = None

    def send(self, peer: int, tensor: Tensor) -> None:
        """Add a tensor for a rank of the group."""
        self._sent.append((peer, tensor))

    def expect(self, peer: int, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Add a tensor that a rank of the group sends."""
        self._expected.append(Expected(peer, shape, dtype))

    def add(
        self,
        sends: Sequence[Message],
        gets: Sequence[Message],
        payload: Sequence[Stores],
        deliver: Delivery,
        dtypes: Sequence[torch.dtype] | None = None,
    ) -> None:
        """Add messages: their rows of each tensor of the payload, given by stores; in `dtypes`, else as they are."""
        kinds = dtypes or [stores[0].dtype for stores in payload]
        for message in sends:
            for stores, dtype in zip(payload, kinds, strict=True):
                self.send(message.peer, message.rows.take(stores).to(dtype))
        for message in gets:
            for stores, dtype in zip(payload, kinds, strict=True):
                self.expect(message.peer, with_rows(stores[0].shape, message.rows.length), dtype)
            self._deliveries.append((deliver, message, len(payload)))

    def post(self, channel: Channel | None, device: torch.device, what: str) -> Self:
        """Send without waiting; errors call the exchange `what`. Without a channel there is nobody to send to.

        Raises DistributedError, which names the rank that died or hangs.
        """
        assert channel is not None
        pieces = [_bytes(tensor) for _, tensor in sorted(self._sent, key=itemgetter(0))]
        outgoing = torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8, device=device)
        to = _totals(channel.ranks, ((peer, tensor.nbytes) for peer, tensor in self._sent))
        back = _totals(channel.ranks, ((each.peer, each.bytes) for each in self._expected))
        incoming = torch.empty(sum(back), dtype=torch.uint8, device=device)
        self._buffers = outgoing, incoming  # kept alive until the exchange is done
        group = channel.group
        self._posted = channel.post(
            what, lambda: dist.all_to_all_single(incoming, outgoing, back, to, group=group, async_op=True)
        )
        return self

    def wait(self) -> list[Tensor]:
        """Wait, deliver the messages by rank, and return what was expected, in its order; [] if nothing was posted.

        Tensors are views of one buffer where elements are aligned in it. Raises DistributedError, which names the rank
        that died or hangs.
        """
        if self._posted is None:
            return []
        self._posted.wait()
        received: dict[int, Tensor] = {}
        offset = 0
        for number, each in sorted(enumerate(self._expected), key=lambda item: item[1].peer):
            chunk = self._buffers[1][offset : offset + each.bytes]
            aligned = chunk if offset % each.dtype.itemsize == 0 else chunk.clone()
            received[number] = aligned.view(each.dtype).view(tuple(each.shape))
            offset += each.bytes
        tensors = [received[number] for number in range(len(self._expected))]
        rest = iter(tensors)
        for deliver, message, count in self._deliveries:
            deliver(message, [next(rest) for _ in range(count)])
        return tensors


def storing(stores: Sequence[Stores], number: int, length: int) -> Delivery:
    """Return a delivery into store `number` of each tensor of a payload, which holds `length` rows."""

    def deliver(message: Message, tensors: Sequence[Tensor]) -> None:
        (part,) = message.rows.parts
        for held, tensor in zip(stores, tensors, strict=True):
            if part.source.are_all(length):
                held[number] = tensor
                continue
            if held[number].shape[DIM] != length:
                held[number] = tensor.new_empty(with_rows(tensor.shape, length))
            part.source.put(held[number], tensor, DIM)

    return deliver


def adding(stores: Sequence[Stores]) -> Delivery:
    """Return a delivery that adds to the rows of each tensor of a payload."""

    def deliver(message: Message, tensors: Sequence[Tensor]) -> None:
        for held, tensor in zip(stores, tensors, strict=True):
            message.rows.add(held, tensor)

    return deliver


def gathered_rows(row: Sequence[int], channels: Sequence[Channel], device: torch.device, what: str) -> list[list[int]]:
    """Return the rows of numbers of all ranks of a mesh, of one length and with a rank's number first, ascending.

    Collective.

    Args:
        channels: Of the mesh, one a dimension, in the same order on all ranks.
    """
    table = torch.tensor([row], dtype=torch.int64, device=device)
    for channel in channels:
        table = torch.cat(channel.gathered(what, table))
    rows: list[list[int]] = table.tolist()
    return sorted(rows)


def _totals(ranks: int, sizes: Iterable[tuple[int, int]]) -> list[int]:
    """Return the bytes of each rank, given (rank, bytes) of each tensor."""
    totals = [0] * ranks
    for peer, size in sizes:
        totals[peer] += size
    return totals


def _bytes(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.uint8).reshape(-1)
