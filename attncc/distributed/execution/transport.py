"""Transport: tensors to and from other ranks in one exchange of bytes, while something else is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from attncc.distributed.execution.channel import Channel, Posted

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sent:
    """A tensor for a rank of the group."""

    peer: int
    tensor: Tensor


@dataclass(frozen=True)
class Expected:
    """A tensor that a rank of the group sends."""

    peer: int
    shape: Shape
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Bytes of the tensor."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Flight:
    """An exchange on its way; keeps what is sent alive until it has landed."""

    expected: Sequence[Expected]
    posted: Posted
    sent: Tensor
    buffer: Tensor

    def land(self) -> list[Tensor]:
        """Wait, and return what was expected, in its order; views of one buffer where elements are aligned in it.

        Raises DistributedError, which names the rank that died or hangs.
        """
        self.posted.wait()
        found: dict[int, Tensor] = {}
        offset = 0
        for number in _by_peer([each.peer for each in self.expected]):
            each = self.expected[number]
            chunk = self.buffer[offset : offset + each.bytes]
            aligned = chunk if offset % each.dtype.itemsize == 0 else chunk.clone()
            found[number] = aligned.view(each.dtype).view(each.shape)
            offset += each.bytes
        return [found[number] for number in range(len(self.expected))]


def depart(
    channel: Channel, device: torch.device, sent: Sequence[Sent], expected: Sequence[Expected], what: str
) -> Flight:
    """Send tensors and take others, all ranks of a group at once, without waiting; errors say that it is `what`.

    What a rank sends to another and what that one expects of it have the same order, shapes and types. Raises
    DistributedError, which names the rank that died or hangs.
    """
    group, ranks = channel.group, channel.ranks
    pieces = [_bytes(sent[number].tensor) for number in _by_peer([each.peer for each in sent])]
    outgoing = torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8, device=device)
    sizes = [each.bytes for each in expected]
    incoming = torch.empty(sum(sizes), dtype=torch.uint8, device=device)
    to = _totals(
        [each.peer for each in sent], [each.tensor.numel() * each.tensor.element_size() for each in sent], ranks
    )
    back = _totals([each.peer for each in expected], sizes, ranks)
    posted = channel.post(
        what, lambda: dist.all_to_all_single(incoming, outgoing, back, to, group=group, async_op=True)
    )
    return Flight(expected, posted, outgoing, incoming)


def _by_peer(peers: Sequence[int]) -> list[int]:
    return sorted(range(len(peers)), key=lambda number: peers[number])


def _totals(peers: Sequence[int], sizes: Sequence[int], ranks: int) -> list[int]:
    found = [0] * ranks
    for peer, size in zip(peers, sizes, strict=True):
        found[peer] += size
    return found


def _bytes(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.uint8).reshape(-1)
