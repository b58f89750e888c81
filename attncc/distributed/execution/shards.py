"""Shards: a rank's part of a whole tensor, and the whole of all parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from attncc.distributed.execution.channel import Channel
from attncc.distributed.execution.mesh import Grid
from attncc.errors import ShapeError


def shard(
    grid: Grid, positions: Tensor, length: int, x: Tensor, batch: int | None, heads: int | None, sequence: int | None
) -> Tensor:
    """Return this rank's batch entries, heads and tokens of a whole tensor that has them along these dimensions."""
    for name, dim in (("batch", batch), ("heads", heads)):
        if dim is not None:
            part = grid.part(name, x.shape[dim])
            x = x.narrow(dim, part.start, len(part))
    if sequence is None:
        return x
    if x.shape[sequence] != length:
        raise ShapeError(
            f"Dimension {sequence} of {tuple(x.shape)} has {x.shape[sequence]} tokens.",
            rule=f"The whole sequence has {length}.",
        )
    return x.index_select(sequence, positions.to(x.device))


def unshard(
    channels: Mapping[str, Channel],
    positions: Sequence[Tensor],
    x: Tensor,
    batch: int | None,
    heads: int | None,
    sequence: int | None,
) -> Tensor:
    """Return the whole tensor on every rank; `positions` are those of each rank of the sequence.

    channels: by dimension of the mesh.
    """
    x = x.detach()
    if sequence is not None:
        lengths = [len(each) for each in positions]
        if "sequence" in channels:
            x = torch.cat(_gathered(channels["sequence"], x, lengths, sequence), sequence)
        order = torch.argsort(torch.cat(list(positions))).to(x.device)
        x = x.index_select(sequence, order)
    for name, dim in (("heads", heads), ("batch", batch)):
        if dim is not None and name in channels:
            x = torch.cat(_gathered(channels[name], x, [x.shape[dim]] * channels[name].ranks, dim), dim)
    return x


def _gathered(channel: Channel, x: Tensor, lengths: Sequence[int], dim: int) -> list[Tensor]:
    """Return the parts of all ranks, which have these lengths along `dim`; shorter ones are padded on their way."""
    longest = max(lengths)
    shape = list(x.shape)
    shape[dim] = longest
    padded = x.new_zeros(shape)
    padded.narrow(dim, 0, x.shape[dim]).copy_(x)
    parts = channel.gathered("the gathering of shards", padded)
    return [part.narrow(dim, 0, length) for part, length in zip(parts, lengths, strict=True)]
