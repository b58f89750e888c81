"""Grouped-query attention: the heads that grids count, and tiles that hold several query heads of a key head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.order import ranges


@dataclass(frozen=True, eq=False)
class GridHeads:
    """The heads of all batch entries that a pass is for."""

    queries: int  # query heads: kernels over query tiles run their programs once for each
    keys: int  # key heads that these use, or packs: kernels over key tiles or over packs run once for each
    listed: Array | None = None  # query heads as batch entry * heads + head, (queries,) int32; None for all
    kv_groups: Array | None = None  # rows (first, last + 1) of `listed`, those of a key head or pack, (keys, 2) int32
    by_entry: bool = False  # they are those of some batch entries, of which there may be many kinds

    @classmethod
    def of(
        cls, entries: tuple[int, ...] | None, own: tuple[int, ...] | None, batch: int, heads: int, kv_heads: int
    ) -> GridHeads:
        """Return some heads of some batch entries, None for all of them, for tensors of these sizes."""
        if entries is None and own is None:
            return cls(batch * heads, batch * kv_heads)
        batches = np.arange(batch) if entries is None else np.array(entries)
        chosen = np.arange(heads) if own is None else np.array(own)
        listed = (batches[:, None] * heads + chosen).ravel().astype(np.int32)
        first = np.flatnonzero(np.diff(listed // (heads // kv_heads), prepend=-1))
        kv_groups = np.column_stack([first, np.append(first[1:], len(listed))]).astype(np.int32)
        return cls(len(listed), len(kv_groups), listed, kv_groups, entries is not None)

    def counted(self, *, by_kv_head: bool) -> int:
        """Return how many key heads, or query heads, a grid counts."""
        return self.keys if by_kv_head else self.queries

    @property
    def group_size(self) -> int:
        """The most query heads of a key head, or of a pack."""
        if self.kv_groups is None:
            return self.queries // self.keys
        return int(np.diff(self.kv_groups).max())

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that kernels read, by argument name."""
        arrays = {"head_subset": self.listed, "kv_groups": self.kv_groups}
        return {name: array for name, array in arrays.items() if array is not None}

    def packed(self, rows: int, most: int) -> GridHeads | None:
        """Return the heads in packs: as many that share a key head as have `rows` each in a tile of `most` rows.

        Each pack reads its keys once. Return None where a tile has room for the rows of one head only.
        """
        size = min(self.group_size, most // max(1, rows))
        if size < 2:
            return None
        return self if size == self.group_size else self._cut(size)

    def _cut(self, size: int) -> GridHeads:
        """Return the heads in groups of at most `size` that share a key head."""
        listed, groups = self.listed, self.kv_groups
        if listed is None or groups is None:
            listed, first = np.arange(self.queries, dtype=np.int32), np.arange(self.keys) * self.group_size
            groups = np.column_stack([first, first + self.group_size])
        begin, end = groups.T
        count = -(-(end - begin) // size)
        first = np.repeat(begin, count) + size * ranges(0, count)
        last = np.minimum(first + size, np.repeat(end, count))
        kv_groups = np.column_stack([first, last]).astype(np.int32)
        return GridHeads(self.queries, len(first), listed, kv_groups, self.by_entry)
