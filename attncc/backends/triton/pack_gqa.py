"""Grouped-query attention: the heads that grids count, and tiles that hold all query heads of a key head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.passes import Group

#: Rows of the largest tile that holds those of several heads.
PACKED_ROWS = 128


@dataclass(frozen=True, eq=False)
class GridHeads:
    """The heads of all batch entries that a pass is for."""

    queries: int  # query heads: kernels over query tiles run their programs once for each
    keys: int  # key heads that these use: kernels over key tiles run once for each
    listed: Array | None = None  # query heads as batch entry * heads + head, (queries,) int32; None for all
    kv_groups: Array | None = None  # rows (first, last + 1) of `listed` that share a key head, (keys, 2) int32

    @classmethod
    def of(cls, group: Group, batch: int, heads: int, kv_heads: int) -> GridHeads:
        """Return the heads of a plan's group for tensors of these sizes."""
        if group.batches is None and group.heads is None:
            return cls(batch * heads, batch * kv_heads)
        batches = np.arange(batch) if group.batches is None else np.array(group.batches)
        chosen = np.arange(heads) if group.heads is None else np.array(group.heads)
        listed = (batches[:, None] * heads + chosen).ravel().astype(np.int32)
        first = np.flatnonzero(np.diff(listed // (heads // kv_heads), prepend=-1))
        kv_groups = np.column_stack([first, np.append(first[1:], len(listed))]).astype(np.int32)
        return cls(len(listed), len(kv_groups), listed, kv_groups)

    def counted(self, *, by_kv_head: bool) -> int:
        """Return how many key heads, or query heads, a grid counts."""
        return self.keys if by_kv_head else self.queries

    @property
    def group_size(self) -> int:
        """The most query heads of the subset that share a key head."""
        if self.kv_groups is None:
            return self.queries // self.keys
        return int(np.diff(self.kv_groups).max())

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that kernels read, by argument name."""
        arrays = {"head_subset": self.listed, "kv_groups": self.kv_groups}
        return {name: array for name, array in arrays.items() if array is not None}


def packed_rows(rows: int, heads: GridHeads) -> int | None:
    """Return the height of one tile that holds `rows` of all heads that share a key head, so that keys are read once.

    It is None where nothing is gained, or the tile would be too large.
    """
    if heads.group_size == 1 or power_of_two(rows) * heads.group_size > PACKED_ROWS:
        return None
    return max(16, power_of_two(rows * heads.group_size))


def power_of_two(number: int) -> int:
    """Return the least power of two that is at least `number`, for numbers from 1."""
    return 1 << (number - 1).bit_length()
