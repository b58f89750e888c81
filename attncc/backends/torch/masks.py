"""Masks of work items, made from the key ranges and the residual when they are needed."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import RLock

import numpy as np
import torch
from cachetools import LRUCache, cached
from torch import Tensor

from attncc.backends.device import placed
from attncc.ir.arithmetic import split_sum
from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.interval import shown
from attncc.ir.normal import structure
from attncc.ir.period import common_period
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array

#: Pairs that are evaluated together: what is computed on the way, 8 bytes for each, fits a core's cache.
PART = 1 << 16
#: Bytes of masks that are kept between calls, of all patterns, and of one of them; each pair takes one.
POOL, MOST_KEPT = 1 << 26, 1 << 25
#: Pairs of a mask for all items that is kept as what is added.
MOST_ADDITIVE = 1 << 19
#: The fewest items that share a mask, and the most masks of such items in a batch: each of them is a call of its own.
LEAST_ALIKE, MOST_PARTS = 8, 16
#: Integers of as many bits as a float.
BITS = {16: torch.int16, 32: torch.int32, 64: torch.int64}
#: From one query and key to the next ones.
ALONG_DIAGONALS = frozenset([(I, 1), (J, 1)])


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


@dataclass(frozen=True)
class Hidden:
    """Which pairs of items are masked, int8 (T, L, M): 0 where a key is seen, -1 elsewhere; and the rows (T, L) that
    see none."""

    pairs: Tensor
    empty: Tensor

    def chunk(self, items: slice) -> Hidden:
        """Return those of some items, views."""
        return Hidden(self.pairs[items], self.empty[items])

    def additive(self, dtype: torch.dtype) -> Additive:
        """Return the mask as 0 where a key is seen and -inf elsewhere, made of the bits of -inf: one pass over it."""
        bits = BITS[torch.finfo(dtype).bits]
        infinite = int(torch.tensor(-math.inf, dtype=dtype).view(bits))
        bias = self.pairs.to(bits).bitwise_and_(infinite).view(dtype)
        return Additive(bias.unsqueeze(0), self.empty.unsqueeze(0) if bool(self.empty.any()) else None)


@dataclass(frozen=True, eq=False)
class Mask:
    """For T items of L query rows and M keys: key slots inside [start, stop), and the residual.

    A mask that is the same for all items has T = 1.

    Attributes:
        start, stop: (T, L).
        key_slot: (T, M), -1 for padding.
        query, key: Absolute positions (T, L) and (T, M), for the residual.
        part_of: The mask that this is some items of.
    """

    start: Array
    stop: Array
    key_slot: Array
    residual: Predicate | None = None
    query: Array | None = None
    key: Array | None = None
    part_of: tuple[Mask, slice] | None = None

    def parted(self) -> Iterator[tuple[Array, Mask]]:
        """Yield items (T,) with the mask that serves them: many that are alike share one, the others have their own."""
        many = [items for items in self._alike() if len(items) >= LEAST_ALIKE][:MOST_PARTS]
        yield from ((items, self._of(items[:1])) for items in many)
        others = np.setdiff1d(np.arange(len(self.start)), np.concatenate(many)) if many else None
        if others is None:
            yield np.arange(len(self.start)), self
        elif len(others):
            yield others, self._of(others)

    def _of(self, items: Array) -> Mask:
        """Return the mask of some items, as one of its own."""
        query = None if self.query is None else self.query[items]
        key = None if self.key is None else self.key[items]
        return Mask(self.start[items], self.stop[items], self.key_slot[items], self.residual, query, key)

    def _alike(self) -> list[Array]:
        """Return the items (T,) by masks that are shown to be the same: moved, they compare and hide the same."""
        if self.residual is None or self.query is None or self.key is None:
            return []
        moved = _sides(self.residual, self.query, self.key) or _periods(self.residual, self.query, self.key)
        return _rows_alike(np.hstack([*moved, *self._key_ranges_from_first_key()])) if moved else []

    def _key_ranges_from_first_key(self) -> tuple[Array, Array, Array]:
        """Return start, stop and key slots, counted from each item's first key, and cut off at its last.

        They are all 0 for items whose key ranges hide none of their keys; slots of padding are -1.
        """
        first, end = self.key_slot[:, :1], self.key_slot.max(1, keepdims=True) + 1
        start, stop = (np.clip(x, first, end) - first for x in (self.start, self.stop))
        hides = ((start > 0) | (stop < end - first)).any(1, keepdims=True)
        slot = np.where(self.key_slot < 0, -1, hides * (self.key_slot - first))
        return start, hides * stop, slot

    @property
    def shared(self) -> bool:
        """Whether one mask serves all items."""
        return len(self.start) == 1

    @property
    def pairs(self) -> int:
        """Elements of the mask."""
        return int(self.start.size * self.key_slot.shape[1])

    @cached_property
    def contents(self) -> bytes:
        """A hash of what it masks, by which it is kept: a forward and a backward with the same items share it."""
        found = hashlib.sha256(b"" if self.residual is None else structure(self.residual).encode())
        for part in (self.start, self.stop, self.key_slot, self.query, self.key):
            if part is not None:
                found.update(repr((part.shape, part.dtype)).encode())
                found.update(np.ascontiguousarray(part).data)
        return found.digest()

    @property
    def is_kept(self) -> bool:
        """Whether it is small enough to be kept between calls."""
        return self.pairs <= MOST_KEPT

    def chunk(self, first: int, last: int) -> Mask:
        """Return the mask of items first .. last-1."""
        if self.shared:
            return self
        part = slice(first, last)
        query = None if self.query is None else self.query[part]
        key = None if self.key is None else self.key[part]
        return Mask(self.start[part], self.stop[part], self.key_slot[part], self.residual, query, key, (self, part))

    def additive(self, device: torch.device, dtype: torch.dtype, heads: int = 1) -> Additive:
        """Return the mask as 0 where a key is seen and -inf elsewhere, of items whose rows are those of `heads` heads.

        A small one for all items is kept as that.
        """
        wanted = device, dtype, heads
        if wanted in self._additive:
            return self._additive[wanted]
        if self.part_of or not self.shared or self.pairs * heads > MOST_ADDITIVE:
            return self._hidden(device).additive(dtype).for_heads(heads)
        self._additive[wanted] = self._looked_at(device).additive(dtype).for_heads(heads)
        return self._additive[wanted]

    @cached_property
    def _additive(self) -> dict[tuple[torch.device, torch.dtype, int], Additive]:
        return {}

    def _hidden(self, device: torch.device) -> Hidden:
        """Return what is masked, from what is kept of the whole mask where that is small enough to be kept."""
        whole, items = self.part_of or (self, slice(None))
        return _kept(whole, device).chunk(items) if whole.is_kept else self._looked_at(device)

    def _looked_at(self, device: torch.device) -> Hidden:
        """Evaluate the mask, a few pairs at a time: what is computed on the way stays in the caches."""
        (items, rows), keys = self.start.shape, self.key_slot.shape[1]
        hidden = torch.empty(items, rows, keys, dtype=torch.int8, device=device)
        in_range, holds = self._range_on(device), self._residual_on(device)
        height = min(rows, max(1, PART // keys))
        several = max(1, PART // (height * keys))
        for first, row in itertools.product(range(0, items, several), range(0, rows, height)):
            part = slice(first, first + several), slice(row, row + height)
            seen = torch.as_tensor(in_range(*part) & holds(*part), device=device).expand(hidden[part].shape)
            torch.sub(seen.view(torch.int8), 1, out=hidden[part])
        together = hidden.view(torch.int64) if keys % 8 == 0 else hidden  # eight at a time: all of their bits are 1
        return Hidden(hidden, (together == -1).all(-1))

    def _range_on(self, device: torch.device) -> Callable[[slice, slice], Tensor | bool]:
        """Return what says which key slots lie in the key ranges, for some rows of some items: all, if all do."""
        least, most = self.key_slot.min(1, keepdims=True), self.key_slot.max(1, keepdims=True)
        if np.all(least >= np.maximum(self.start, 0)) and np.all(most < self.stop):
            return lambda items, rows: True
        start, stop, slot = (placed(x, device) for x in (self.start, self.stop, self.key_slot))

        def inside(items: slice, rows: slice) -> Tensor:
            key = slot[items].unsqueeze(1)
            return (start[items, rows].unsqueeze(2) <= key) & (key < stop[items, rows].unsqueeze(2))

        return inside

    def _residual_on(self, device: torch.device) -> Callable[[slice, slice], Tensor | bool]:
        """Return what says where the residual holds, for some rows of some items."""
        residual, query, key = self.residual, self.query, self.key
        if residual is None or query is None or key is None:
            return lambda items, rows: True
        i, j = placed(query, device).unsqueeze(2), placed(key, device).unsqueeze(1)

        def holds(items: slice, rows: slice) -> Tensor | bool:
            found: Tensor | bool = evaluate_predicate(residual, {I: i[items, rows], J: j[items]})
            return found

        return holds


@cached(LRUCache(POOL, lambda hidden: hidden.pairs.nbytes), lambda mask, device: (mask.contents, device), RLock())
def _kept(mask: Mask, device: torch.device) -> Hidden:
    """Return what is masked; the last masks are kept, whatever patterns they are of."""
    return mask._looked_at(device)


def _sides(residual: Predicate, query: Array, key: Array) -> list[Array]:
    """Return columns that are equal for items with equal comparisons of f(i) + g(j), counted from an item's first f.

    Those that hold for all pairs of an item are 0. Empty where some comparison isn't such a sum.
    """
    found: list[Array] = []
    for atom in residual.atoms:
        parts = split_sum(atom.expr, I, J)
        if parts is None:
            return []
        f, g = (
            np.broadcast_to(np.asarray(evaluate(part, {symbol: places}), np.int64), places.shape)
            for part, symbol, places in zip(parts, (I, J), (query, key), strict=True)
        )
        ends = ((end(f, 1, keepdims=True) + end(g, 1, keepdims=True)) for end in (np.min, np.max))
        open_ = ~shown(atom.relation, *ends)[0]
        found += [open_ * (f - f[:, :1]), open_ * (g + f[:, :1])]
    return found


def _periods(residual: Predicate, query: Array, key: Array) -> list[Array]:
    """Return columns that are equal for items whole periods apart along the diagonal; empty where none is shown."""
    period = common_period(residual, ALONG_DIAGONALS)
    if period is None:
        return []
    origin = query[:, :1]
    return [origin % period, query - origin, key - origin]


def _rows_alike(rows: Array) -> list[Array]:
    """Part the rows of an integer array (T, n) into those that are equal, in order of their first."""
    mixed = rows @ np.random.default_rng(0).integers(1, 1 << 62, rows.shape[1])  # wraps: equal rows have equal sums
    _, first, member = np.unique(mixed, return_index=True, return_inverse=True)
    if not np.array_equal(rows, rows[first[member]]):
        return [np.array([row]) for row in range(len(rows))]
    return [np.flatnonzero(member == number) for number in np.argsort(first)]


def key_ranges_mask(start: Array, stop: Array, first_key: Array, keys: int) -> Mask | None:
    """Return the mask of items whose keys are the slots first_key .. first_key + keys - 1, None if all are seen."""
    begin = np.clip(start - first_key[:, None], 0, keys)
    end = np.clip(stop - first_key[:, None], 0, keys)
    if np.all(begin == 0) and np.all(end == keys):
        return None
    if np.all(begin == begin[0]) and np.all(end == end[0]):
        begin, end = begin[:1], end[:1]
    return Mask(begin, end, np.tile(np.arange(keys), (len(begin), 1)))
