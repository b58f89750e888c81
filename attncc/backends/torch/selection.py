"""Selections: the heads and batch entries of a group, folded into one leading dimension."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from torch import Tensor

from attncc.backends.head_subset import Chosen, HeadSubset
from attncc.ir.tables import Array


@dataclass(frozen=True)
class Selection:
    """Heads of a group, with their batch entries.

    Query-side tensors (B, Hq, N, ...) fold to (X, G, N, ...) and key-side ones to (X, N, ...). The G query heads of a
    row of X share its keys.

    Attributes:
        queries: The query heads.
        keys: The key heads that these use.
        key_heads: The number of these.
        leading: X.
        group_size: G.
    """

    queries: HeadSubset
    keys: HeadSubset
    key_heads: int
    leading: int
    group_size: int

    @classmethod
    def of(cls, batches: Chosen, heads: Chosen, batch: int, query_heads: int, key_heads: int) -> Selection:
        """Return the selection of some heads of some entries; heads picked one by one use their key heads one by one.

        The last ones are kept: those of a step of decoding are the same at each step.
        """
        return _selection(batches, heads, batch, query_heads, key_heads)

    def members(self, batch: int, heads: int) -> tuple[Array, Array]:
        """Return the batch entry of each row of X, (X,), and its query heads, (X, G), out of `batch` and `heads`."""
        entries, chosen = self.queries.members(batch, heads)
        shared = chosen.reshape(-1, self.group_size)
        return np.repeat(entries, len(shared)), np.tile(shared, (len(entries), 1))

    def query_side(self, x: Tensor) -> Tensor:
        """Return the selected part of x (B, Hq, N, ...), which folds without a copy; a view where strides allow."""
        return _folding(x if self.everything else self.queries.take(x), self.key_heads)

    def key_side(self, x: Tensor) -> Tensor:
        """Return the selected part of x (B, Hkv, N, ...), which folds without a copy; a view where strides allow."""
        return _folding(x if self.everything else self.keys.take(x), self.key_heads)

    def folded(self, x: Tensor) -> Tensor:
        """Return what `query_side` returned as (X, G, N, ...), a view."""
        return x.reshape(self.leading, self.group_size, *x.shape[2:])

    @cached_property
    def everything(self) -> bool:
        """Whether all heads of all batch entries are selected."""
        return self.queries.everything

    def store_query_side(self, x: Tensor, part: Tensor) -> None:
        """Write part (X, G, N, ...) to its place in x (B, Hq, N, ...)."""
        self.queries.put(x, part)

    def add_key_side(self, x: Tensor, part: Tensor) -> None:
        """Add part (X, N, ...) to its place in x (B, Hkv, N, ...)."""
        self.keys.put(x, part, accumulate=True)


@lru_cache(maxsize=1024)
def _selection(batches: Chosen, heads: Chosen, batch: int, query_heads: int, key_heads: int) -> Selection:
    sharing, entries = query_heads // key_heads, batch if batches is None else len(batches)
    if heads is None:
        every = HeadSubset(batches)
        return Selection(every, every, key_heads, entries * key_heads, sharing)
    used = HeadSubset(batches, tuple(head // sharing for head in heads))
    return Selection(HeadSubset(batches, heads), used, len(heads), entries * len(heads), 1)


def _folding(x: Tensor, key_heads: int) -> Tensor:
    """Return x (B, H, N, ...), as a copy if its heads of all batch entries aren't evenly spaced."""
    by_batch, by_head, *_ = x.stride()
    return x if by_batch == by_head * x.shape[1] or x.shape[0] == 1 or key_heads == 1 else x.contiguous()
