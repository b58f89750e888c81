"""Rows of tensors (B, H, N, ...), and rows picked from several tensors: views where they are evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from attncc.ir.tables import Array

#: The dimension that rows lie along.
DIM = 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Different rows of a tensor: a slice, or where they aren't evenly spaced and ascending, an index."""

    count: int
    where: slice | Array
    _index: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, numbers: Array) -> Rows:
        """Return the rows with these numbers, in their order."""
        steps = np.diff(numbers)
        if len(numbers) == 0:
            return cls(0, slice(0, 0))
        step = int(steps[0]) if len(steps) else 1
        if step > 0 and (steps == step).all():
            return cls(len(numbers), slice(int(numbers[0]), int(numbers[-1]) + 1, step))
        return cls(len(numbers), numbers)

    def take(self, x: Tensor) -> Tensor:
        """Return the rows: a view of a slice, else a copy."""
        if isinstance(self.where, slice):
            return x[:, :, self.where]
        return x.index_select(DIM, self._on(x.device))

    def put(self, x: Tensor, part: Tensor) -> None:
        """Write `part` to the rows of x."""
        if isinstance(self.where, slice):
            x[:, :, self.where].copy_(part)
        else:
            x.index_copy_(DIM, self._on(x.device), part.to(x.dtype))

    def add(self, x: Tensor, part: Tensor) -> None:
        """Add `part` to the rows of x."""
        if isinstance(self.where, slice):
            x[:, :, self.where].add_(part)
        else:
            x.index_add_(DIM, self._on(x.device), part.to(x.dtype))

    def are_all(self, length: int) -> bool:
        """Return whether these are the rows 0 .. length-1, in order."""
        return self.count == length and isinstance(self.where, slice)

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._index:
            self._index[device] = torch.as_tensor(self.where, device=device)
        return self._index[device]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows `source` of a store, which are rows `target` of what is picked."""

    store: int
    source: Rows
    target: Rows


@dataclass(frozen=True, eq=False)
class Pick:
    """Rows of several stores, in ascending position."""

    length: int
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, wanted: Array, stores: Sequence[Array]) -> Pick:
        """Return where the positions `wanted` are, given those of each store; all ascend, and no two stores meet."""
        parts = []
        for number, held in enumerate(stores):
            at = np.searchsorted(held, wanted)
            found = np.flatnonzero(held[np.minimum(at, len(held) - 1)] == wanted) if len(held) else at[:0]
            if len(found):
                parts.append(Part(number, Rows.of(at[found]), Rows.of(found)))
        pick = cls(len(wanted), tuple(parts))
        assert sum(part.source.count for part in parts) == len(wanted)
        return pick

    @property
    def is_own(self) -> bool:
        """Whether all rows are in the first store."""
        return all(part.store == 0 for part in self.parts)

    def positions(self, stores: Sequence[Array]) -> Array:
        """Return the positions of the rows in their order, given those of each store."""
        found = np.full(self.length, -1, np.int64)
        for part in self.parts:
            found[part.target.where] = stores[part.store][part.source.where]
        return found

    def take(self, stores: Sequence[Tensor]) -> Tensor:
        """Return the rows, (B, H, length, ...): a view where they are a slice of one store."""
        if len(self.parts) == 1:
            return self.parts[0].source.take(stores[self.parts[0].store])
        shape = list(stores[0].shape)
        shape[DIM] = self.length
        found = stores[0].new_empty(shape)
        for part in self.parts:
            part.target.put(found, part.source.take(stores[part.store]))
        return found

    def add(self, stores: Sequence[Tensor], values: Tensor) -> None:
        """Add a value for each row where it was picked from."""
        for part in self.parts:
            part.source.add(stores[part.store], part.target.take(values))
