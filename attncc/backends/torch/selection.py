"""Selections: the heads and batch entries of a group, folded into one leading dimension."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from attncc.backends.head_subset import HeadSubset
from attncc.ir.tables import Array
from attncc.planner.passes import Group


@dataclass(frozen=True)
class Selection:
    """Heads of a group, with their batch entries.

    Query-side tensors (B, Hq, N, ...) are folded to (X, G, N, ...) and key-side ones to (X, N, ...), where the G
    query heads of a row of X share its keys.

    Attributes:
        queries: The query heads.
        keys: The key heads that these use.
        group_size: G.
    """

    queries: HeadSubset
    keys: HeadSubset
    group_size: int

    @classmethod
    def of(cls, group: Group, query_heads: int, key_heads: int) -> Selection:
        """Return the selection of a group; heads picked one by one use their key heads one by one."""
        sharing = query_heads // key_heads
        if group.heads is None:
            every = HeadSubset(group.batches)
            return cls(every, every, sharing)
        used = tuple(head // sharing for head in group.heads)
        return cls(HeadSubset(group.batches, group.heads), HeadSubset(group.batches, used), 1)

    def members(self, batch: int, heads: int) -> tuple[Array, Array]:
        """Return the batch entry of each row of X, (X,), and its query heads, (X, G), out of `batch` and `heads`."""
        entries, chosen = self.queries.members(batch, heads)
        shared = chosen.reshape(-1, self.group_size)
        return np.repeat(entries, len(shared)), np.tile(shared, (len(entries), 1))

    def query_side(self, x: Tensor) -> Tensor:
        """Return the selected part of x (B, Hq, N, ...) as (X, G, N, ...); a view where strides allow."""
        part = self.queries.take(x)
        shared = part.shape[0] * part.shape[1] // self.group_size
        return part.reshape(shared, self.group_size, *part.shape[2:])

    def key_side(self, x: Tensor) -> Tensor:
        """Return the selected part of x (B, Hkv, N, ...) as (X, N, ...); a view where strides allow."""
        return self.keys.take(x).flatten(0, 1)

    @property
    def everything(self) -> bool:
        """Whether all heads of all batch entries are selected."""
        return self.queries.everything

    def store_query_side(self, x: Tensor, part: Tensor) -> None:
        """Write part (X, G, N, ...) to its place in x (B, Hq, N, ...)."""
        self.queries.put(x, part)

    def add_key_side(self, x: Tensor, part: Tensor) -> None:
        """Add part (X, N, ...) to its place in x (B, Hkv, N, ...)."""
        self.keys.put(x, part, accumulate=True)
