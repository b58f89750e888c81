"""Merging of partial results over disjoint sets of keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attncc.backends.logsum import LogSum
from attncc.backends.slots import Slots


def put(rows: Slots, out: Tensor, lse: LogSum, part_out: Tensor, part_lse: LogSum, dim: int = 1) -> None:
    """Write part_out (X, T, L, D) and part_lse (X, T, L) to rows of out (X, N, D) and lse (X, N) along `dim`."""
    _put_all(rows, (out, *lse.tensors), (part_out, *part_lse.tensors), dim)


def merge(rows: Slots, out: Tensor, lse: LogSum, part_out: Tensor, part_lse: LogSum, dim: int = 1) -> None:
    """Merge part_out (X, T, L, D) and part_lse (X, T, L) into rows of out (X, N, D) and lse (X, N), in place.

    With rows (L,) along dim=2 they are (B, H, L, D) and (B, H, L), and out and lse (B, H, N, D) and (B, H, N).
    """
    share, merged = lse.map(lambda x: rows.take(x, dim)).merged(part_lse)
    share, part_out, old_out = share.unsqueeze(-1).to(out.dtype), part_out.to(out.dtype), rows.take(out, dim)
    if rows.index is None:
        old_out.lerp_(part_out, share)
    else:
        rows.put(out, torch.lerp(old_out, part_out, share), dim)
    _put_all(rows, lse.tensors, merged.tensors, dim)


def _put_all(rows: Slots, wholes: Sequence[Tensor], parts: Sequence[Tensor], dim: int) -> None:
    for whole, part in zip(wholes, parts, strict=True):
        rows.put(whole, part, dim)
