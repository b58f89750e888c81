"""Block lists: of each row of a tile grid the numbers of its tiles, as FlexAttention and FlashAttention-4 read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from attncc.ir.tables import Array
from attncc.planner.order import ranges
from attncc.planner.tiles import EMPTY, Tiles

#: Entries up to which index tensors are written whole. Larger ones are views over what their counts say is read.
WHOLE = 1 << 22


@dataclass(frozen=True, eq=False)
class BlockList:
    """The FULL or the PARTIAL tiles of a grid, row by row; `by_key`, rows are key tiles and columns query tiles."""

    tiles: Tiles
    full: bool
    by_key: bool = False

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.tiles.num_query_tiles if self.by_key else self.tiles.num_key_tiles

    @cached_property
    def corners(self) -> Array:
        """(row, column) of each tile in order, int64 (count, 2)."""
        corners = self.tiles.corners(full=self.full)
        return corners[self._by_key, ::-1] if self.by_key else corners

    @cached_property
    def count(self) -> Array:
        """Number of tiles of each row, (rows,)."""
        rows = self.tiles.num_key_tiles if self.by_key else self.tiles.num_query_tiles
        found: Array = np.bincount(self.corners[:, 0], minlength=rows)
        return found

    @cached_property
    def whole(self) -> Array:
        """All columns of each row, (rows, columns): first those of its tiles, then the others, both ascending."""
        listed = np.zeros((len(self.count), self.columns), bool)
        listed[tuple(self.corners.T)] = True
        return np.argsort(~listed, axis=1, kind="stable")

    def padded(self, values: Array, width: int) -> Array:
        """Return a value for each tile as (rows, width), 0 where a row has fewer tiles."""
        found = np.zeros((len(self.count), width), np.int64)
        found[self.corners[:, 0], ranges(0, self.count)] = values
        return found

    def ranks(self, descending: bool) -> Array:
        """Return each tile's place among those of its query tile that aren't EMPTY; only `by_key`."""
        both = self.tiles.in_runs(slice(None))
        is_full = np.repeat(self.tiles.full, self.tiles.stop - self.tiles.start)
        count = np.bincount(both[:, 0], minlength=self.tiles.num_query_tiles)
        place = ranges(0, count)
        place = np.repeat(count, count) - 1 - place if descending else place
        found: Array = place[is_full == self.full][self._by_key]
        return found

    def ranks_of_all(self, descending: bool) -> Array:
        """Return the same for all columns, EMPTY tiles too, as `whole` lies."""
        there = (self.tiles.classify() != EMPTY).astype(np.int64)
        place = np.cumsum(there, axis=1) - there
        place = there.sum(axis=1, keepdims=True) - 1 - place if descending else place
        return np.take_along_axis(place.T, self.whole, axis=1)

    @cached_property
    def _by_key(self) -> Array:
        return np.argsort(self.tiles.corners(full=self.full)[:, 1], kind="stable")


@dataclass(frozen=True, eq=False)
class BlockTensors:
    """The lists of one class for each batch entry and head, as int32 tensors on a device."""

    lists: Sequence[Sequence[BlockList]]
    device: torch.device

    @classmethod
    def of(
        cls, tiles: Sequence[Sequence[Tiles]], device: torch.device, *, full: bool, by_key: bool = False
    ) -> BlockTensors:
        """Return the FULL or the PARTIAL tiles of each batch entry and head; equal grids have one list."""
        made = {id(one): BlockList(one, full, by_key) for entry in tiles for one in entry}
        return cls([[made[id(one)] for one in entry] for entry in tiles], device)

    @property
    def count(self) -> Tensor:
        """Number of tiles of each row, (B, H, rows)."""
        return self._stacked(lambda one: one.count)

    @property
    def index(self) -> Tensor:
        """Columns of the tiles, (B, H, rows, columns); what follows a row's own isn't read."""
        return self._square(lambda one: one.whole, lambda one: one.corners[:, 1])

    @property
    def compact(self) -> Tensor:
        """Columns of the tiles, (B, H, rows, most tiles of a row), 0 where a row has fewer."""
        return self._stacked(lambda one: one.padded(one.corners[:, 1], self._width))

    def write_order(self, descending: bool) -> Tensor:
        """Return when each key tile adds to dQ, (B, H, key tiles, query tiles), as `index` lies; only by key."""
        return self._square(lambda one: one.ranks_of_all(descending), lambda one: one.ranks(descending))

    def _square(self, whole: Callable[[BlockList], Array], listed: Callable[[BlockList], Array]) -> Tensor:
        """Return (B, H, rows, columns) of values that lie as the columns of lists do: written out, or as a view."""
        b, h = len(self.lists), len(self.lists[0])
        m, columns = len(self.lists[0][0].count), self.lists[0][0].columns
        if b * h * m * columns <= WHOLE:
            return self._stacked(whole)
        width = self._width
        rows = self._stacked(lambda one: one.padded(listed(one), width))
        flat = torch.nn.functional.pad(rows.flatten(), (0, columns - width))
        return flat.as_strided((b, h, m, columns), (h * m * width, m * width, width, 1))

    @property
    def _width(self) -> int:
        return max(1, *(int(one.count.max(initial=0)) for entry in self.lists for one in entry))

    def _stacked(self, of: Callable[[BlockList], Array]) -> Tensor:
        values = np.array([[of(one) for one in entry] for entry in self.lists], np.int32)
        return torch.from_numpy(values).to(self.device)
