"""Parts of a sequence and of a softmax: steps cut where segments end, blocks, and attention as (out, lse)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncc.frontend.patterns import Pattern
from attncc.runtime.api import attention

#: (out, lse) of attention: (B, H, N, Dv) and (B, H, N).
Part = tuple[Tensor, Tensor]


def attended(
    query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, *, q_offset: int = 0, scale: float | None = None
) -> Part:
    """Return (out, lse) of attention; key heads may be shared."""
    given: dict[str, Any] = {"q_offset": q_offset, "scale": scale, "enable_gqa": True}
    out, lse = attention(query, key, value, pattern, return_lse=True, **given)
    return out, lse


def blocks(x: Tensor, size: int) -> Tensor:
    """Return (..., n, D) as (..., blocks, size, D), the last block filled up with zeros."""
    whole = pad(x, (0, 0, 0, -x.shape[-2] % size))
    return whole.reshape(*x.shape[:-2], whole.shape[-2] // size, size, x.shape[-1])


def wide(x: Tensor) -> Tensor:
    """Return a tensor in float32 at least, for sums."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def divided(total: Tensor, weight: Tensor) -> Tensor:
    """Return total / weight, and 0 where nothing has weight."""
    none = weight == 0
    return total.masked_fill(none, 0.0) / weight.masked_fill(none, 1.0)


def pieces(tensors: tuple[Tensor, ...], position: int, segment: int) -> Iterator[tuple[tuple[Tensor, ...], bool]]:
    """Cut tensors (B, H, n, D), whose first position is `position`, where segments end.

    Yields:
        The tensors of each piece, and whether a segment ends with it.
    """
    n, first = tensors[0].shape[2], 0
    while first < n:
        last = min(n, first + segment - (position + first) % segment)
        yield tuple(x[:, :, first:last] for x in tensors), (position + last) % segment == 0
        first = last


def joined(outs: list[Tensor], query: Tensor, value: Tensor) -> Tensor:
    """Return the outputs of the pieces of a step end to end, (B, H, n, Dv); there may be none."""
    return torch.cat([query.new_empty(*query.shape[:2], 0, value.shape[-1]), *outs], 2)
