"""Members: the heads of batch entries that share a pass, as the kernels' grids count them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.passes import Group


@dataclass(frozen=True, eq=False)
class Members:
    """The heads of a group: all of them (`listed` is None), or those in `listed`, as batch entry * heads + head.

    `owners` are rows (first, last + 1): the entries of `listed` that share a key head. queries and keys count the
    members of kernels over query tiles and over key tiles.
    """

    queries: int
    keys: int
    listed: Array | None = None
    owners: Array | None = None

    @classmethod
    def of(cls, group: Group, batch: int, heads: int, kv_heads: int) -> Members:
        """Return the members of a group for tensors of these sizes."""
        if group.batches is None and group.heads is None:
            return cls(batch * heads, batch * kv_heads)
        batches = np.arange(batch) if group.batches is None else np.array(group.batches)
        chosen = np.arange(heads) if group.heads is None else np.array(group.heads)
        listed = (batches[:, None] * heads + chosen).ravel().astype(np.int32)
        first = np.flatnonzero(np.diff(listed // (heads // kv_heads), prepend=-1))
        owners = np.column_stack([first, np.append(first[1:], len(listed))]).astype(np.int32)
        return cls(len(listed), len(owners), listed, owners)

    @property
    def sharers(self) -> int:
        """The most query heads of the group that share a key head."""
        if self.owners is None:
            return self.queries // self.keys
        return int(np.diff(self.owners).max())

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that kernels read."""
        found = {"head_subset": self.listed, "kv_groups": self.owners}
        return {name: array for name, array in found.items() if array is not None}
