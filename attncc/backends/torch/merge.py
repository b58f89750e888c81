"""Merging of partial results over disjoint sets of keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attncc.backends.logsum import LogSum
from attncc.backends.torch.slots import Slots


def put(rows: Slots, out: Tensor, lse: LogSum, part_out: Tensor, part_lse: LogSum) -> None:
    """Write part_out (X, T, L, D) and part_lse (X, T, L) to rows of out (X, N, D) and lse (X, N)."""
    _put_all(rows, (out, *lse.tensors), (part_out, *part_lse.tensors))


def merge(rows: Slots, out: Tensor, lse: LogSum, part_out: Tensor, part_lse: LogSum) -> None:
    """Merge part_out (X, T, L, D) and part_lse (X, T, L) into rows of out (X, N, D) and lse (X, N), in place."""
    share, merged = lse.map(rows.take).merged(part_lse)
    share, part_out, old_out = share.unsqueeze(-1), part_out.to(out.dtype), rows.take(out)
    if rows.index is None:
        old_out.lerp_(part_out, share)
    else:
        rows.put(out, torch.lerp(old_out, part_out, share))
    _put_all(rows, lse.tensors, merged.tensors)


def _put_all(rows: Slots, wholes: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    for whole, part in zip(wholes, parts, strict=True):
        rows.put(whole, part)
