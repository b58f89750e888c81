"""Slots: the rows that equal-shaped work items read and write, as strided views where the rows allow it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from attncc.backends.device import placed
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Slots:
    """Rows (T, L) of an axis: L rows for each of T work items.

    Affine slots, `base + t * item_step + r * row_step`, are views (windows of neighbours may overlap); others
    are gathered through `index`.
    """

    items: int
    length: int
    base: int = 0
    item_step: int = 0
    row_step: int = 1
    index: Array | None = None

    @classmethod
    def of(cls, rows: Array) -> Slots:
        """Return the slots of an integer array (T, L), affine where it is."""
        items, length = rows.shape
        base = int(rows[0, 0])
        item_step = int(rows[1, 0]) - base if items > 1 else 0
        row_step = int(rows[0, 1]) - base if length > 1 else 1
        affine = base + np.arange(items)[:, None] * item_step + np.arange(length) * row_step
        if item_step >= 0 and row_step > 0 and np.array_equal(affine, rows):
            return cls(items, length, base, item_step, row_step)
        return cls(items, length, index=rows)

    def chunk(self, first: int, last: int) -> Slots:
        """Return the slots of items first .. last-1."""
        if self.index is not None:
            return Slots(last - first, self.length, index=self.index[first:last])
        return Slots(last - first, self.length, self.base + first * self.item_step, self.item_step, self.row_step)

    def columns(self, first: int, last: int) -> Slots:
        """Return rows first .. last-1 of every item."""
        if self.index is not None:
            return Slots(self.items, last - first, index=self.index[:, first:last])
        return Slots(self.items, last - first, self.base + first * self.row_step, self.item_step, self.row_step)

    def rows(self) -> Array:
        """Return the rows as an integer array (T, L)."""
        if self.index is not None:
            return self.index
        return self.base + np.arange(self.items)[:, None] * self.item_step + np.arange(self.length) * self.row_step

    @property
    def disjoint(self) -> bool:
        """Whether no row is named twice, by the shape of an affine set; gathered rows don't say."""
        if self.index is not None:
            return False
        inner = (self.length - 1) * self.row_step
        outer = (self.items - 1) * self.item_step
        return self.items == 1 or inner < self.item_step or (self.item_step > 0 and outer < self.row_step)

    def take(self, x: Tensor) -> Tensor:
        """Return rows of x (X, N, ...) as (X, T, L, ...): a view if the slots are affine, else a copy."""
        if self.index is None:
            size = (x.shape[0], self.items, self.length, *x.shape[2:])
            step = x.stride(1)
            stride = (x.stride(0), self.item_step * step, self.row_step * step, *x.stride()[2:])
            return x.as_strided(size, stride, x.storage_offset() + self.base * step)
        return x.index_select(1, self._flat(x)).reshape(x.shape[0], self.items, self.length, *x.shape[2:])

    def put(self, x: Tensor, part: Tensor) -> None:
        """Write part (X, T, L, ...) to rows of x (X, N, ...); the rows are distinct."""
        if self.index is None:
            self.take(x).copy_(part)
        else:
            x.index_copy_(1, self._flat(x), part.flatten(1, 2).to(x.dtype))

    def add(self, x: Tensor, part: Tensor) -> None:
        """Add part (X, T, L, ...) to rows of x (X, N, ...); rows that several items name get every contribution."""
        if self.disjoint:
            self.take(x).add_(part)
        elif self.index is None and self.item_step > 0 and self.item_step % self.row_step == 0:
            width = self.item_step // self.row_step  # so many rows of each item, and no item names another's
            for first in range(0, self.length, width):
                last = min(first + width, self.length)
                self.columns(first, last).take(x).add_(part[:, :, first:last])
        else:
            x.index_add_(1, self._flat(x), part.flatten(1, 2).to(x.dtype))

    def _flat(self, x: Tensor) -> Tensor:
        return placed(self.rows().reshape(-1), x.device)
