"""Slots: positions along an axis of a tensor, read and written as strided views where they are evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from attncc.backends.device import placed
from attncc.ir.tables import Array


@dataclass(eq=False, slots=True)  # not frozen, since it is made in a fifth of the time
class Slots:
    """Positions along an axis, in an array of shape (L,), or (T, L): L rows for each of T work items.

    Affine slots, `base + t * steps[0] + r * steps[1]`, are views (windows of neighbours may overlap); others are
    gathered through `index`, whose copies on devices are in `resident` if they are to stay there.
    """

    shape: tuple[int, ...]
    base: int = 0
    steps: tuple[int, ...] = ()
    index: Array | None = None
    resident: dict[torch.device, Tensor] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, positions: Array, *, keep: bool = False) -> Slots:
        """Return the slots of an integer array (L,) or (T, L), affine where it is; `keep` an index on its devices."""
        if not positions.size:
            return cls(positions.shape, 0, (1,) * positions.ndim)
        base, last = int(positions.flat[0]), int(positions.flat[-1])
        *items, length = positions.shape
        row_step = int(positions.flat[1]) - base if length > 1 else 1
        steps = (*((int(positions[1, 0]) - base if items[0] > 1 else 0,) if items else ()), row_step)
        reached = base + sum((size - 1) * step for size, step in zip(positions.shape, steps, strict=True))
        if reached == last and min(steps) >= 0 and row_step > 0:
            affine = cls(positions.shape, base, steps)
            if positions.size == 1 or np.array_equal(affine.rows(), positions):
                return affine
        return cls(positions.shape, index=positions, resident={} if keep else None)

    @property
    def items(self) -> int:
        """Number of work items, T."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def length(self) -> int:
        """Rows of a work item, L."""
        return self.shape[-1]

    @property
    def item_step(self) -> int:
        """Distance of a work item's rows from those of the one before, if the slots are affine."""
        return self.steps[0] if len(self.steps) > 1 else 0

    @property
    def row_step(self) -> int:
        """Distance of a row from the one before, if the slots are affine."""
        return self.steps[-1] if self.steps else 1

    def chunk(self, first: int, last: int) -> Slots:
        """Return the slots of items first .. last-1."""
        if self.index is not None:
            return Slots((last - first, self.length), index=self.index[first:last])
        return Slots((last - first, self.length), self.base + first * self.item_step, self.steps)

    def columns(self, first: int, last: int) -> Slots:
        """Return rows first .. last-1 of every item."""
        shape = (*self.shape[:-1], last - first)
        if self.index is not None:
            return Slots(shape, index=self.index[..., first:last])
        return Slots(shape, self.base + first * self.row_step, self.steps)

    def rows(self) -> Array:
        """Return the positions as an integer array (L,) or (T, L)."""
        if self.index is not None:
            return self.index
        rows = self.base + np.arange(self.length) * self.row_step
        return rows if len(self.shape) == 1 else rows + np.arange(self.items)[:, None] * self.item_step

    def are_all(self, length: int) -> bool:
        """Return whether these are the positions 0 .. length-1, in order, one item's after the other's."""
        if self.index is not None or self.base or self.items * self.length != length:
            return False
        in_item = self.length == 1 or self.row_step == 1
        return in_item and (self.items == 1 or self.item_step == self.length)

    @property
    def disjoint(self) -> bool:
        """Whether no row is named twice, by the shape of an affine set; gathered rows don't say."""
        if self.index is not None:
            return False
        inner = (self.length - 1) * self.row_step
        outer = (self.items - 1) * self.item_step
        return self.items == 1 or inner < self.item_step or (self.item_step > 0 and outer < self.row_step)

    def take(self, x: Tensor, dim: int = 1, items: int | None = None) -> Tensor:
        """Return the rows of x, (L,) or (T, L) in place of `dim`: a view if the slots are affine, else a copy.

        Args:
            items: Where T goes instead, a dimension of x up to `dim`.
        """
        front = dim if items is None else items
        if self.index is not None:
            sizes = list(x.shape)
            sizes[dim : dim + 1] = self.shape
            taken = _gathered(x, dim, self._flat(x))
            return taken if len(self.shape) == 1 else taken.reshape(sizes).movedim(dim, front)
        sizes, strides = list(x.shape), list(x.stride())
        step = strides[dim]
        sizes[dim], strides[dim] = self.shape[-1], self.steps[-1] * step
        if len(self.shape) > 1:
            sizes.insert(front, self.shape[0])
            strides.insert(front, self.steps[0] * step)
        return x.as_strided(sizes, strides, x.storage_offset() + self.base * step)

    def put(self, x: Tensor, part: Tensor, dim: int = 1) -> None:
        """Write `part`, as `take` returns it, to the rows of x; the rows are distinct."""
        if self.index is None:
            self.take(x, dim).copy_(part)
        else:
            x.index_copy_(dim, self._flat(x), self._as_rows(part, dim).to(x.dtype))

    def add(self, x: Tensor, part: Tensor, dim: int = 1) -> None:
        """Add `part`, as `take` returns it, to the rows of x; rows of several items get every contribution."""
        if self.disjoint:
            self.take(x, dim).add_(part)
        elif self.index is None and self.item_step > 0 and self.item_step % self.row_step == 0:
            width = self.item_step // self.row_step  # no row is in the first `width` of two items
            for first in range(0, self.length, width):
                last = min(first + width, self.length)
                self.columns(first, last).take(x, dim).add_(part.narrow(dim + 1, first, last - first))
        else:
            x.index_add_(dim, self._flat(x), self._as_rows(part, dim).to(x.dtype))

    def _as_rows(self, part: Tensor, dim: int) -> Tensor:
        return part if len(self.shape) == 1 else part.flatten(dim, dim + 1)

    def _flat(self, x: Tensor) -> Tensor:
        if self.resident is None:
            return placed(self.rows().reshape(-1), x.device)
        if x.device not in self.resident:
            self.resident[x.device] = placed(self.rows().reshape(-1), x.device)
        return self.resident[x.device]


def _gathered(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return `x.index_select(dim, index)`, which is slow where x isn't contiguous.

    Rows of a transposed tensor lie together for all heads. In a cut of a key cache they lie whole rows apart: there
    they are taken from a view of all of them.
    """
    step, outer = x.stride(dim), x.movedim(dim, 0)
    if outer.is_contiguous():
        return outer.index_select(0, index).movedim(0, dim)
    leading, inner = x.shape[:dim], x.shape[dim + 1 :]
    if x.is_contiguous() and dim > 1:  # with one dimension in front of the rows it takes half as long
        return x.flatten(0, dim - 1).index_select(1, index).view(*leading, len(index), *inner)
    if x.is_contiguous() or step == 0 or any(stride % step for stride in x.stride()[:dim]):
        return x.index_select(dim, index)
    first = torch.zeros((1,) * dim, dtype=torch.int64, device=x.device)
    for axis, size in enumerate(leading):
        shape = [1] * dim
        shape[axis] = size
        first = first + torch.arange(size, device=x.device).view(shape) * (x.stride(axis) // step)
    rows = first.unsqueeze(-1) + index
    last = sum((size - 1) * (stride // step) for size, stride in zip(leading, x.stride(), strict=False))
    every = x.as_strided((last + x.shape[dim], *inner), (step, *x.stride()[dim + 1 :]), x.storage_offset())
    return every.index_select(0, rows.reshape(-1)).view(*leading, len(index), *inner)
