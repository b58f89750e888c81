"""Members: the batch entries and key heads of a lane, as views of tensors (B, H, N, ...) where they can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attncc.distributed.execution.rows import Rows
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Members:
    """Some batch entries and some key heads, every head in every entry; None for all of both."""

    entries: Array | None = None
    heads: Array | None = None

    @classmethod
    def of(cls, pairs: Array | None) -> Members:
        """Return a lane's members, which are a product of entries and heads."""
        return cls() if pairs is None else cls(np.unique(pairs[:, 0]), np.unique(pairs[:, 1]))

    def query_heads(self, group: int, heads: int) -> Array:
        """Return the query heads, `group` for each key head, of `heads` in all."""
        if self.heads is None:
            return np.arange(heads)
        found: Array = (self.heads[:, None] * group + np.arange(group)).reshape(-1)
        return found

    def take(self, x: Tensor, group: int = 1) -> Tensor:
        """Return the members of x, whose heads are `group` for each key head."""
        if self.heads is None:
            return x
        found: Tensor = _by_key_head(x, group)[self._index(x)]
        return found.flatten(1, 2)

    def put(self, x: Tensor, part: Tensor, group: int = 1) -> None:
        """Write `part` to the members of x, which is contiguous."""
        if self.heads is None:
            x.copy_(part)
        else:
            _by_key_head(x, group)[self._index(x)] = _by_key_head(part, group).to(x.dtype)

    def _index(self, x: Tensor) -> Any:
        assert self.entries is not None
        assert self.heads is not None
        rows = Rows.of(self.entries).where, Rows.of(self.heads).where
        if all(isinstance(where, slice) for where in rows):
            return rows
        entries, heads = (torch.as_tensor(each, device=x.device) for each in (self.entries, self.heads))
        return entries[:, None], heads


def _by_key_head(x: Tensor, group: int) -> Tensor:
    """Return x, (B, heads, N, ...), as (B, key heads, group, N, ...)."""
    return x.view(x.shape[0], x.shape[1] // group, group, *x.shape[2:])
