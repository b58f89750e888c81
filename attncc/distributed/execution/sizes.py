"""Sizes of a call, and a score's weights: what ranks must have alike, and can't know of each other beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from attncc.distributed.execution.channel import Channel, told
from attncc.distributed.liveness.odd import named, odd
from attncc.errors import DistributedError

#: Types that tensors may have, by the numbers that ranks tell each other.
DTYPES = sorted({x for x in vars(torch).values() if isinstance(x, torch.dtype) and x.is_floating_point}, key=str)


class Sizes(NamedTuple):
    """Of a rank's query, key and value, those that all ranks of a sequence have alike: all but the tokens.

    gradients: whether a backward may follow, in which all ranks take part, too.
    """

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: torch.dtype
    gradients: bool

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor] = ()) -> Sizes:
        """Return the sizes of some tensors."""
        gradients = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value, *weights))
        dims = query.shape[0], query.shape[1], key.shape[1], query.shape[3], value.shape[3]
        return cls(*dims, query.dtype, gradients)

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"batch {self.batch}, {self.heads} heads of {self.head_dim}, {self.kv_heads} key heads, value heads of "
            f"{self.value_dim}, {kind}, {'with' if self.gradients else 'no'} gradients"
        )


def check_alike(sizes: Sizes, channel: Channel, device: torch.device) -> None:
    """Raise DistributedError on every rank of a channel unless all have these sizes. Collective."""
    *dims, dtype, gradients = sizes
    row = [dist.get_rank(), *dims, DTYPES.index(dtype), int(gradients)]
    rows = told(row, [channel], device, f"the comparison of sizes, {sizes}")
    found = {rank: Sizes._make([*dims, DTYPES[kind], bool(wanted)]) for rank, *dims, kind, wanted in rows}
    if len(set(found.values())) > 1:
        listed = "; ".join(f"rank {rank} has {each}" for rank, each in found.items())
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
    row = [dist.get_rank(), *map(_digest, weights.values())]
    rows = told(row, channels, device, "the comparison of weights")
    for slot, name in enumerate(weights, 1):
        differing = odd({row[0]: row[slot] for row in rows})
        if differing:
            raise DistributedError(
                f"The weights {name!r} of the score are others on {named(differing)}.",
                rule="All ranks have the same weights, each the whole of them, in one type.",
                fix="Broadcast them from one rank before the first step, and add up their gradients in each.",
            )


def _digest(x: Tensor) -> int:
    found = hashlib.sha256(str(x.dtype).encode())
    own = x.detach().to("cpu", copy=True)  # a tensor that numpy has seen can't be resized, as FSDP does
    found.update(own.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return int.from_bytes(found.digest()[:8], "little", signed=True)
