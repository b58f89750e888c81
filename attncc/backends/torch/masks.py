"""Masks of work items, made from the staircase and the residual when they are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from attncc.backends.device import placed
from attncc.ir.diagonals import depends_on_gap
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array


@dataclass(frozen=True)
class Additive:
    """What a tile kernel takes: an additive mask (1, T or 1, L, M), and the rows without any key (1, T or 1, L)."""

    bias: Tensor
    empty: Tensor | None

    def for_heads(self, heads: int) -> Additive:
        """Return the mask of items whose rows are those of several heads, below each other."""
        if heads == 1:
            return self
        empty = None if self.empty is None else self.empty.repeat(1, 1, heads)
        return Additive(self.bias.repeat(1, 1, heads, 1), empty)


@dataclass(frozen=True, eq=False)
class Mask:
    """For T items of L query rows and M keys: key slots inside [start, stop), and the residual.

    start, stop: (T, L); key_slot: (T, M), -1 for padding; query, key: absolute positions (T, L) and (T, M), for
    the residual. A mask that is the same for all items has T = 1.
    """

    start: Array
    stop: Array
    key_slot: Array
    residual: Predicate | None = None
    query: Array | None = None
    key: Array | None = None

    def deduplicated(self) -> Mask:
        """Return one mask for all items if they are translations of one another and the residual can't tell."""
        if self.residual is None or self.query is None or self.key is None or not depends_on_gap(self.residual):
            return self
        origin = self.query[:, :1]
        inside = (self.start[:, :, None] <= self.key_slot[:, None, [0, -1]]) & (
            self.key_slot[:, None, [0, -1]] < self.stop[:, :, None]
        )
        if inside.all() and all(np.all(x == x[0]) for x in (self.query - origin, self.key - origin)):
            return self.chunk(0, 1)
        return self

    @property
    def shared(self) -> bool:
        """Whether one mask serves all items."""
        return len(self.start) == 1

    def chunk(self, first: int, last: int) -> Mask:
        """Return the mask of items first .. last-1."""
        if self.shared:
            return self
        part = slice(first, last)
        query = None if self.query is None else self.query[part]
        key = None if self.key is None else self.key[part]
        return Mask(self.start[part], self.stop[part], self.key_slot[part], self.residual, query, key)

    def additive(self, device: torch.device, dtype: torch.dtype) -> Additive:
        """Return the mask as 0 where a key is seen and -inf elsewhere; a shared one is kept."""
        kept = self._kept
        if (device, dtype) not in kept:
            made = self._make(device, dtype)
            if not self.shared:
                return made
            kept[device, dtype] = made
        return kept[device, dtype]

    @cached_property
    def _kept(self) -> dict[tuple[torch.device, torch.dtype], Additive]:
        return {}

    def _make(self, device: torch.device, dtype: torch.dtype) -> Additive:
        start, stop, slot = (placed(x, device) for x in (self.start, self.stop, self.key_slot))
        seen = (start.unsqueeze(2) <= slot.unsqueeze(1)) & (slot.unsqueeze(1) < stop.unsqueeze(2))
        if self.residual is not None:
            assert self.query is not None
            assert self.key is not None
            query, key = placed(self.query, device), placed(self.key, device)
            seen &= evaluate_predicate(self.residual, {I: query.unsqueeze(2), J: key.unsqueeze(1)})
        bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -math.inf)
        empty = ~seen.any(-1)
        return Additive(bias.unsqueeze(0), empty.unsqueeze(0) if bool(empty.any()) else None)


def staircase_mask(start: Array, stop: Array, first_key: Array, keys: int) -> Mask | None:
    """Return the mask of items whose keys are the slots first_key .. first_key + keys - 1, None if all are seen."""
    begin = np.clip(start - first_key[:, None], 0, keys)
    end = np.clip(stop - first_key[:, None], 0, keys)
    if np.all(begin == 0) and np.all(end == keys):
        return None
    if np.all(begin == begin[0]) and np.all(end == end[0]):
        begin, end = begin[:1], end[:1]
    return Mask(begin, end, np.tile(np.arange(keys), (len(begin), 1)))
