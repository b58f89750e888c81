"""Launches: the calls of tile kernels that compute a group of heads, made ready for tensors of equal sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from attncc.backends.torch.lower import TileSchedule
from attncc.backends.torch.masks import Additive
from attncc.backends.torch.selection import Selection
from attncc.backends.torch.tile_batch import TileBatch
from attncc.planner.shape import Shape


@dataclass(frozen=True, eq=False, slots=True)
class TileLaunch:
    """One call of a tile kernel: items of a tile batch, for some of the G query heads that share keys.

    Heads that run together are rows of one item, below each other, which then reads its keys once.

    Attributes:
        tiles: The items.
        first_head: The first of the heads.
        heads: The number of heads.
    """

    tiles: TileBatch
    first_head: int
    heads: int

    def of_heads(self, x: Tensor) -> Tensor:
        """Return the heads' part of x (X, G, N, ...), a view."""
        return x if self.heads == x.shape[1] else x.narrow(1, self.first_head, self.heads)

    def rows(self, x: Tensor) -> Tensor:
        """Return the items' rows of x (X, G, N, ...), as (X, T, heads * L, ...)."""
        return self.tiles.rows.take(self.of_heads(x), 2, items=1).flatten(2, 3)

    def by_head(self, x: Tensor) -> Tensor:
        """Return items' rows (X, T, heads * L, ...) as (X, heads, T, L, ...), a view."""
        if self.heads == 1:
            return x.unsqueeze(1)
        return x.view(*x.shape[:2], self.heads, self.tiles.rows.length, *x.shape[3:]).transpose(1, 2)

    def mask(self, like: Tensor) -> Additive | None:
        """Return the mask on the device and in the dtype of a tensor."""
        mask = self.tiles.mask
        return None if mask is None else mask.additive(like.device, like.dtype, self.heads)


@dataclass(frozen=True, eq=False)
class GroupLaunches:
    """The launches that compute a group of heads, in order.

    Attributes:
        selection: The group's heads and batch entries.
        launches: Its launches.
        covered: Whether each query row is stored by some launch, to which others may be merged.
        merges: Whether some launch merges its results with those of an earlier one.
        rows_at_once: Whether one launch computes all query rows in order, so that its results are the group's.
        keys_at_once: Whether it does so on all keys in order, so that its gradients are the group's, too.
    """

    selection: Selection
    launches: tuple[TileLaunch, ...]
    covered: bool
    merges: bool
    rows_at_once: bool
    keys_at_once: bool

    @classmethod
    def of(
        cls, schedule: TileSchedule, selection: Selection, leading: int, chunk: int, shape: Shape, one_head: bool
    ) -> GroupLaunches:
        """Return the launches of a schedule.

        Args:
            schedule: The tile batches.
            selection: The group's heads and batch entries.
            leading: X, the number of rows into which the selection folds batch entries and key heads.
            chunk: Scores that are computed at a time, at least those of an item.
            shape: The numbers of queries and keys.
            one_head: Whether each launch is for one head, as a score is.
        """
        launches = tuple(_launches(schedule, selection.group_size, chunk // max(1, leading), one_head))
        rows_at_once = len(launches) == 1 and launches[0].tiles.rows.are_all(shape.q_len)
        keys_at_once = rows_at_once and launches[0].tiles.cols.are_all(shape.kv_len)
        merges = not all(launch.tiles.first for launch in launches)
        return cls(selection, launches, schedule.covered, merges, rows_at_once, keys_at_once)


def _launches(schedule: TileSchedule, group_size: int, budget: int, one_head: bool) -> Iterator[TileLaunch]:
    for tiles in schedule.tile_batches:
        heads = 1 if one_head or tiles.causal else group_size
        for part in tiles.chunks(budget):
            yield from (TileLaunch(part, first, heads) for first in range(0, group_size, heads))
