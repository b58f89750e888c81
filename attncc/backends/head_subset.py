"""Head subsets: some batch entries and some heads of tensors (B, H, ...), every one of the heads in every entry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from attncc.backends.slots import Slots
from attncc.ir.tables import Array

Chosen = tuple[int, ...] | None


@dataclass(frozen=True)
class HeadSubset:
    """Batch entries and heads, None for all of them."""

    entries: Chosen = None
    heads: Chosen = None

    @classmethod
    def of_pairs(cls, pairs: Array | None) -> HeadSubset:
        """Return the subset of (batch entry, head) pairs, int64 (M, 2), a product of both; None is all of them."""
        if pairs is None:
            return cls()
        entries, heads = (tuple(np.unique(column).tolist()) for column in pairs.T)
        return cls(entries, heads)

    @property
    def everything(self) -> bool:
        """Whether these are all heads of all batch entries."""
        return self.entries is None and self.heads is None

    def query_heads(self, group_size: int) -> HeadSubset:
        """Return the subset of the query heads of key heads, `group_size` of which share each."""
        if self.heads is None:
            return self
        return HeadSubset(self.entries, tuple(h * group_size + g for h in self.heads for g in range(group_size)))

    def members(self, batch: int, heads: int) -> tuple[Array, Array]:
        """Return the entries and the heads, out of `batch` and `heads`."""
        chosen = (self.entries, batch), (self.heads, heads)
        entries, own = (np.arange(count) if some is None else np.array(some) for some, count in chosen)
        return entries, own

    def take(self, x: Tensor) -> Tensor:
        """Return the subset of x (B, H, ...): a view where entries and heads are evenly spaced, else a copy."""
        if self.entries is not None:
            x = _slots(self.entries).take(x, 0)
        return x if self.heads is None else _slots(self.heads).take(x, 1)

    def put(self, x: Tensor, part: Tensor, *, accumulate: bool = False) -> None:
        """Write `part`, its heads in order, to its place in x (B, H, N, ...), or add it; heads may repeat then."""
        if not accumulate and all(some is None or _slots(some).index is None for some in (self.entries, self.heads)):
            view = self.take(x)
            view.copy_(part.reshape(view.shape))
            return
        entries, heads = (torch.as_tensor(some, device=x.device) for some in self.members(*x.shape[:2]))
        shaped = part.reshape(len(entries), len(heads), *x.shape[2:]).to(x.dtype)
        x.index_put_((entries.unsqueeze(1), heads.unsqueeze(0)), shaped, accumulate=accumulate)


@lru_cache(maxsize=1024)
def _slots(some: tuple[int, ...]) -> Slots:
    return Slots.of(np.array(some))
