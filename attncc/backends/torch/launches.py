"""Launches: the calls of tile kernels that compute a group of heads, made ready for tensors of equal sizes.

They aren't frozen: those of a step of decoding are made at each step, which takes a fifth of the time then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from attncc.backends.device import placed
from attncc.backends.slots import Slots
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.lower import TileSchedule, listed, schedule
from attncc.backends.torch.masks import Additive
from attncc.backends.torch.selection import Selection
from attncc.backends.torch.tile_batch import TileBatch
from attncc.frontend.pages import Pages
from attncc.planner.passes import Group
from attncc.planner.plan import Plan
from attncc.planner.shape import Shape

#: Numbers of batch entries and heads that launches are kept for.
MOST_SIZES = 16


@dataclass(eq=False, slots=True)
class TileLaunch:
    """One call of a tile kernel: items of a tile batch, for some of the G query heads that share keys.

    Heads that run together are rows of one item, below each other, which then reads its keys once.

    Attributes:
        tiles: The items.
        selection: The group's heads and batch entries.
        first_head: The first of the heads.
        heads: The number of heads.
    """

    tiles: TileBatch
    selection: Selection
    first_head: int
    heads: int

    def of_heads(self, x: Tensor) -> Tensor:
        """Return the heads' part of x (X, G, N, ...), a view."""
        return x if self.heads == x.shape[1] else x.narrow(1, self.first_head, self.heads)

    def rows(self, x: Tensor) -> Tensor:
        """Return the items' rows of x (B, Hq, N, ...), which folds, as (X, T, heads * L, ...)."""
        return self._items(x, self.tiles.rows, self.selection.group_size, self.first_head, self.heads)

    def keys(self, x: Tensor) -> Tensor:
        """Return the items' keys or values of x (B, Hkv, N, D), which folds, as (X, T, M, D); 0 where none is seen."""
        taken, unused = self._items(x, self.tiles.key_rows, 1, 0, 1), self.tiles.unused
        return taken if unused is None else taken.masked_fill(placed(unused, x.device).unsqueeze(-1), 0.0)

    def _items(self, x: Tensor, slots: Slots, sharing: int, first_head: int, heads: int) -> Tensor:
        """Return some of each `sharing` heads at `slots`: one view of x if the slots are affine."""
        if slots.index is not None:
            folded = x.reshape(self.selection.leading, sharing, *x.shape[2:])
            return slots.take(folded.narrow(1, first_head, heads), 2, items=1).flatten(2, 3)
        if sharing == 1 and slots.shape == (1, x.shape[2]):  # one item of all rows, which as_strided would view, too
            return x.reshape(self.selection.leading, *slots.shape, *x.shape[3:])
        sizes, strides = list(x.shape), list(x.stride())
        by_batch, by_head, by_row, *_ = strides
        leading = by_batch if self.selection.key_heads == 1 else by_head * sharing
        (items, length), (by_item, step) = slots.shape, slots.steps
        base = x.storage_offset() + by_head * first_head + by_row * slots.base
        if heads == 1:
            sizes[:3] = self.selection.leading, items, length
            strides[:3] = leading, by_row * by_item, by_row * step
            return x.as_strided(sizes, strides, base)
        sizes[:3] = self.selection.leading, items, heads, length
        strides[:3] = leading, by_row * by_item, by_head, by_row * step
        return x.as_strided(sizes, strides, base).flatten(2, 3)

    def by_head(self, x: Tensor) -> Tensor:
        """Return items' rows (X, T, heads * L, ...) as (X, heads, T, L, ...), a view."""
        if self.heads == 1:
            return x.unsqueeze(1)
        return x.view(*x.shape[:2], self.heads, self.tiles.rows.length, *x.shape[3:]).transpose(1, 2)

    def in_order(self, x: Tensor) -> Tensor:
        """Return items' rows with their elements in the order of (X, heads, T, L, ...), in whatever shape; a view."""
        return x if self.heads == 1 else self.by_head(x)

    def mask(self, like: Tensor) -> Additive | None:
        """Return the mask on the device and in the dtype of a tensor."""
        mask = self.tiles.mask
        return None if mask is None else mask.additive(like.device, like.dtype, self.heads)


@dataclass(eq=False, slots=True)
class GroupLaunches:
    """The launches that compute a group of heads, in order.

    Attributes:
        selection: The group's heads and batch entries.
        launches: Its launches.
        covered: Whether each query row is stored by some launch, to which others may be merged.
        merges: Whether some launch merges its results with those of an earlier one.
        rows_at_once: Whether one launch computes all query rows in order, so that its results are the group's.
        kv_len: The number of keys.
    """

    selection: Selection
    launches: tuple[TileLaunch, ...]
    covered: bool
    merges: bool
    rows_at_once: bool
    kv_len: int

    @property
    def keys_at_once(self) -> bool:
        """Whether one launch computes all rows on all keys in order, so that its gradients are the group's, too."""
        tiles = self.launches[0].tiles if self.rows_at_once else None
        return tiles is not None and tiles.paged is None and tiles.cols.are_all(self.kv_len)

    @classmethod
    def of(
        cls, schedule: TileSchedule, selection: Selection, chunk: int, shape: Shape, *, one_head: bool
    ) -> GroupLaunches:
        """Return the launches of a schedule.

        Args:
            schedule: The tile batches.
            selection: The group's heads and batch entries.
            chunk: Scores that are computed at a time, at least those of an item.
            shape: The numbers of queries and keys.
            one_head: Whether each launch is for one query head, as under a score.
        """
        launches = tuple(_launches(schedule, selection, chunk // max(1, selection.leading), one_head))
        rows_at_once = len(launches) == 1 and launches[0].tiles.rows.are_all(shape.q_len)
        merges = not all(launch.tiles.first for launch in launches)
        return cls(selection, launches, schedule.covered, merges, rows_at_once, shape.kv_len)

    @classmethod
    def of_one_row(
        cls, tile_batches: list[TileBatch], selection: Selection, kv_len: int, *, one_head: bool
    ) -> GroupLaunches:
        """Return the launches of a single query: of each batch one, or under a score one for each head."""
        sharing = selection.group_size
        if one_head and sharing > 1:
            launches = [TileLaunch(tiles, selection, head, 1) for tiles in tile_batches for head in range(sharing)]
        else:
            launches = [TileLaunch(tiles, selection, 0, sharing) for tiles in tile_batches]
        return cls(selection, tuple(launches), bool(launches), len(tile_batches) > 1, len(launches) == 1, kv_len)


def _launches(schedule: TileSchedule, selection: Selection, budget: int, one_head: bool) -> Iterator[TileLaunch]:
    sharing = selection.group_size
    for tiles in schedule.tile_batches:
        heads = 1 if one_head or tiles.causal else sharing
        for part in tiles.chunks(budget):
            yield from (TileLaunch(part, selection, first, heads) for first in range(0, sharing, heads))


class PlanLaunches:
    """The launches of a plan in one direction; `one_head` is that of GroupLaunches.of."""

    def __init__(self, plan: Plan, tiling: Tiling, one_head: bool) -> None:
        self.plan, self.tiling, self.one_head = plan, tiling, one_head
        self._kept: dict[tuple[int, int, int], tuple[GroupLaunches, ...]] = {}

    def on(self, query: Tensor, key: Tensor) -> tuple[GroupLaunches, ...]:
        """Return the launches of each group of heads on tensors (B, H, N, D); those of the last B and H are kept."""
        batch, heads, *_ = query.shape
        sizes = batch, heads, key.shape[1]
        if (found := self._kept.get(sizes)) is None:
            if len(self._kept) >= MOST_SIZES:
                self._kept.clear()
            found = self._kept[sizes] = tuple(self._made(*sizes))
        return found

    def _made(self, *sizes: int) -> Iterator[GroupLaunches]:
        plan, one_head = self.plan, self.one_head
        if plan.listed is not None:
            pages, kv_len = Pages.of(plan.pattern), plan.shape.kv_len
            for own in plan.listed.lists:
                selection = Selection.of(own.batches, own.heads, *sizes)
                yield GroupLaunches.of_one_row(listed(own, pages), selection, kv_len, one_head=one_head)
            return
        for group, tiles in zip(plan.groups, self._schedules, strict=True):
            selection = Selection.of(group.batches, group.heads, *sizes)
            yield GroupLaunches.of(tiles, selection, self.tiling.chunk, plan.shape, one_head=one_head)

    @cached_property
    def _schedules(self) -> list[TileSchedule]:
        rows = self.plan.shape.q_len
        return [_scheduled(group, rows, self.tiling) for group in self.plan.groups]


def _scheduled(group: Group, rows: int, tiling: Tiling) -> TileSchedule:
    return schedule(group.passes, rows, tiling, lambda: group.simplest.passes)
