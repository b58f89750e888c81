"""Channels: exchanges within a group of ranks, watched over, so that one that fails names the rank that is to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from attncc.distributed.liveness.liveness import Liveness


class Channel:
    """A group whose ranks all come to the same exchanges in the same order; each may take `timeout` seconds.

    Without a timeout it is the group's own limit. Raises DistributedError, here and in what it has posted.
    """

    def __init__(self, group: dist.ProcessGroup, timeout: float | None = None) -> None:
        self.group = group
        self._liveness = Liveness(group, timeout)

    @property
    def limit(self) -> timedelta:
        """How long an exchange may take; each backend of the group knows."""
        kind = torch.device("cuda" if dist.get_backend(self.group) == "nccl" else "cpu")
        options = self.group._get_backend(kind).options
        found: timedelta = options._timeout
        return found

    @property
    def ranks(self) -> int:
        """Ranks of the group."""
        return self.group.size()

    def guard(self, what: str) -> AbstractContextManager[None]:
        """Watch over something else that all ranks of the group do together, and that may take as long."""
        return self._liveness.guard(what)

    def post(self, what: str, start: Callable[[], dist.Work | None]) -> Posted:
        """Start an exchange, which is `what` in errors, and go on."""
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
    """An exchange on its way."""

    liveness: Liveness
    what: str
    work: dist.Work

    def wait(self) -> None:
        """Return when it is done."""
        with self.liveness.guard(self.what):
            self.liveness.wait(self.work)


def told(row: Sequence[int], channels: Sequence[Channel], device: torch.device, what: str) -> list[list[int]]:
    """Return the rows of all ranks of a mesh, of one length and with a rank's number first, in ascending order.

    channels: of the mesh, one a dimension, in the same order on all ranks. Collective.
    """
    known = torch.tensor([row], dtype=torch.int64, device=device)
    for channel in channels:
        known = torch.cat(channel.gathered(what, known))
    found: list[list[int]] = known.tolist()
    return sorted(found)
