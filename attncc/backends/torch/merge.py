"""Merging of partial results over disjoint sets of keys."""

from __future__ import annotations

import torch
from torch import Tensor

from attncc.backends.torch.slots import Slots


def merge(rows: Slots, out: Tensor, lse: Tensor, part_out: Tensor, part_lse: Tensor) -> None:
    """Merge part_out (X, T, L, D) and part_lse (X, T, L) into rows of out (X, N, D) and lse (X, N), in place.

    The weight of the part is exp(part_lse) / (exp(lse) + exp(part_lse)), the sigmoid of their difference; where
    both are -inf (no key so far) the difference counts as 0 and both outputs are 0.
    """
    old_out, old_lse = rows.take(out), rows.take(lse)
    weight = torch.sigmoid((part_lse - old_lse).nan_to_num(nan=0.0))
    merged = torch.logaddexp(old_lse, part_lse)
    if rows.index is None:
        old_out.lerp_(part_out.to(out.dtype), weight.unsqueeze(-1))
        old_lse.copy_(merged)
    else:
        rows.put(out, torch.lerp(old_out, part_out.to(out.dtype), weight.unsqueeze(-1)))
        rows.put(lse, merged)
