"""Selections: the heads and batch entries of a group, folded into one leading dimension."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attncc.ir.tables import Array
from attncc.planner.passes import Group

Members = tuple[int, ...] | None


@dataclass(frozen=True)
class Selection:
    """Batch entries and query heads of a group (None: all), and the key heads that these use.

    Query-side tensors (B, Hq, N, ...) are folded to (X, G, N, ...) and key-side ones to (X, N, ...), where the G
    query heads of a row of X share its keys.
    """

    batches: Members
    heads: Members
    key_heads: Members
    group_size: int

    @classmethod
    def of(cls, group: Group, query_heads: int, key_heads: int) -> Selection:
        """Return the selection of a group; heads picked one by one use their key heads one by one."""
        sharing = query_heads // key_heads
        if group.heads is None:
            return cls(group.batches, None, None, sharing)
        return cls(group.batches, group.heads, tuple(head // sharing for head in group.heads), 1)

    def members(self, batch: int, heads: int) -> tuple[Array, Array]:
        """Return the batch entry of each row of X, (X,), and its query heads, (X, G), out of `batch` and `heads`."""
        chosen = np.arange(heads) if self.heads is None else np.array(self.heads)
        shared = chosen.reshape(-1, self.group_size)
        entries = np.arange(batch) if self.batches is None else np.array(self.batches)
        return np.repeat(entries, len(shared)), np.tile(shared, (len(entries), 1))

    def query_side(self, x: Tensor) -> Tensor:
        """Return the selected part of x (B, Hq, N, ...) as (X, G, N, ...); a view where strides allow."""
        part = _picked(_picked(x, 0, self.batches), 1, self.heads)
        shared = part.shape[0] * part.shape[1] // self.group_size
        return part.reshape(shared, self.group_size, *part.shape[2:])

    def key_side(self, x: Tensor) -> Tensor:
        """Return the selected part of x (B, Hkv, N, ...) as (X, N, ...); a view where strides allow."""
        return _picked(_picked(x, 0, self.batches), 1, self.key_heads).flatten(0, 1)

    @property
    def everything(self) -> bool:
        """Whether all heads of all batch entries are selected."""
        return self.batches is None and self.heads is None

    def store_query_side(self, x: Tensor, part: Tensor) -> None:
        """Write part (X, G, N, ...) to its place in x (B, Hq, N, ...)."""
        self._place(x, part.flatten(0, 1), self.heads, accumulate=False)

    def add_key_side(self, x: Tensor, part: Tensor) -> None:
        """Add part (X, N, ...) to its place in x (B, Hkv, N, ...)."""
        self._place(x, part, self.key_heads, accumulate=True)

    def _place(self, x: Tensor, part: Tensor, heads: Members, *, accumulate: bool) -> None:
        batch = torch.as_tensor(range(x.shape[0]) if self.batches is None else self.batches, device=x.device)
        head = torch.as_tensor(range(x.shape[1]) if heads is None else heads, device=x.device)
        shaped = part.reshape(len(batch), len(head), *part.shape[1:]).to(x.dtype)
        x.index_put_((batch.unsqueeze(1), head.unsqueeze(0)), shaped, accumulate=accumulate)


def _picked(x: Tensor, dim: int, members: Members) -> Tensor:
    """Select members of a dimension, as a view when they are evenly spaced."""
    if members is None:
        return x
    step = members[1] - members[0] if len(members) > 1 else 1
    if step > 0 and members == tuple(range(members[0], members[0] + step * len(members), step)):
        return x[(slice(None),) * dim + (slice(members[0], members[-1] + 1, step),)]
    return x.index_select(dim, torch.as_tensor(members, device=x.device))
