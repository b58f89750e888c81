"""Shards: a rank's part of a whole tensor, and the whole of all parts of a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from attncc.distributed.execution.channel import Channel
from attncc.distributed.execution.communicators import RankMesh
from attncc.errors import ShapeError


def shard(
    mesh: RankMesh,
    positions: Tensor,
    length: int,
    x: Tensor,
    batch: int | None,
    heads: int | None,
    sequence: int | None,
) -> Tensor:
    """Return this rank's batch entries, heads and tokens of a whole tensor that has them along these dimensions."""
    _check_dims(x, batch, heads, sequence)
    for name, dim in (("batch", batch), ("heads", heads)):
        if dim is not None:
            part = mesh.part(name, x.shape[dim])
            x = x.narrow(dim, part.start, len(part))
    if sequence is None:
        return x
    if x.shape[sequence] != length:
        raise ShapeError(
            f"Dimension {sequence} of {tuple(x.shape)} has {x.shape[sequence]} tokens.",
            rule=f"The whole sequence has {length}.",
            fix="Pass the whole tensor, or say with sequence= which dimension has the tokens.",
        )
    return x.index_select(sequence, positions.to(x.device))


def unshard(
    channels: Mapping[str, Channel],
    positions: Sequence[Tensor],
    own: int,
    x: Tensor,
    batch: int | None,
    heads: int | None,
    sequence: int | None,
) -> Tensor:
    """Return the whole tensor on every rank; `positions` are those of each rank of the sequence, which `own` is one of.

    Args:
        channels: By dimension of the mesh.
    """
    _check_dims(x, batch, heads, sequence)
    if sequence is not None and x.shape[sequence] != len(positions[own]):
        raise ShapeError(
            f"Dimension {sequence} of {tuple(x.shape)} has {x.shape[sequence]} tokens.",
            rule=f"Rank {own} of the sequence owns {len(positions[own])}.",
            fix="Pass what op.shard or a call returned, and the dimension that its tokens are in.",
        )
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


def _check_dims(x: object, *dims: int | None) -> None:
    """Raise ShapeError unless x is a tensor that has these dimensions, each once."""
    if not isinstance(x, Tensor):
        raise ShapeError(
            f"A {type(x).__name__} was given for a tensor.",
            rule="Tensors are cut into shards.",
            fix="Convert it first, for example with torch.as_tensor.",
        )
    given = [dim for dim in dims if dim is not None]
    if any(not -x.ndim <= dim < x.ndim for dim in given) or len({dim % x.ndim for dim in given}) < len(given):
        raise ShapeError(
            f"batch, heads and sequence are dimensions {dims} of a tensor of shape {tuple(x.shape)}.",
            rule=f"They are different ones of its {x.ndim}, or None where it has none.",
            fix="For token numbers (B, N) write shard(ids, heads=None, sequence=1).",
        )


def _gathered(channel: Channel, x: Tensor, lengths: Sequence[int], dim: int) -> list[Tensor]:
    """Return the parts of all ranks, which have these lengths along `dim`; shorter ones are padded on their way."""
    longest = max(lengths)
    shape = list(x.shape)
    shape[dim] = longest
    padded = x.new_zeros(shape)
    padded.narrow(dim, 0, x.shape[dim]).copy_(x)
    parts = channel.gathered("the gathering of shards", padded)
    return [part.narrow(dim, 0, length) for part, length in zip(parts, lengths, strict=True)]
