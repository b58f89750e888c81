"""Key ranges: for each query slot of a layout, the contiguous range of key slots that it may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.ir.pyramid import Array, Pyramid
from attncc.planner.axis import chunks, listable
from attncc.planner.pieces import Pieces, together

Edges = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class KeyRanges:
    """Query slot r sees key slots start(r) <= c < stop(r) and no others.

    `edges` maps query slots to (start, stop), 0 <= start <= stop <= cols; `monotone` says that both are known to
    be nondecreasing, so that the first and the last row of a block bound all rows between them. `pieces` are both,
    with the same breakpoints, where they are known as pieces. `same` are both where all query slots have the same ones.
    """

    rows: int
    cols: int
    edges: Callable[[Array], Edges]
    monotone: bool
    pieces: tuple[Pieces, Pieces] | None = None
    same: tuple[int, int] | None = None

    def of_row(self, slot: int) -> tuple[int, int]:
        """Return (start, stop) of one query slot."""
        if self.same is not None:
            return self.same
        start, stop = self.at(np.array([slot]))
        return int(start[0]), int(stop[0])

    def at(self, slots: Array) -> Edges:
        """Return (start, stop) of the given query slots, int64."""
        return self.edges(slots)

    def bounds(self) -> Edges:
        """Return (start, stop) of every query slot, int64."""
        start, stop = np.empty((2, listable(self.rows)), np.int64)
        for slots in chunks(self.rows):
            part = slice(slots[0], slots[-1] + 1)
            start[part], stop[part] = self.at(slots)
        return start, stop

    @cached_property
    def nnz(self) -> int:
        """Number of (query, key) pairs within the key ranges."""
        if self.pieces is not None:
            (start, stop), rows = self.pieces, np.diff(self.pieces[0].first, append=self.rows)
            return int((rows * (stop.base - start.base + stop.ends - start.ends) // 2).sum())
        return sum(int((stop - start).sum()) for start, stop in map(self.at, chunks(self.rows)))

    def hull(self, first: Array, last: Array) -> tuple[Array, Array, Array, Array]:
        """Return (least start, greatest start, least stop, greatest stop) among slots first..last, for many ranges.

        Exact where the key ranges are monotone, else bounds of them.
        """
        if self.monotone:
            (low, least), (high, greatest) = self.at(first), self.at(last)
            return low, high, least, greatest
        start, stop = self._pyramids
        return (*start.bounds([(first, last)]), *stop.bounds([(first, last)]))

    def within(self, limits: range) -> KeyRanges:
        """Return what lies in some consecutive key slots of the ranges."""
        if limits == range(self.cols):
            return self
        if self.same is not None:
            return constant(self.rows, self.cols, *_cut(self.same, limits).tolist())
        return KeyRanges(self.rows, self.cols, lambda slots: tuple(_cut(self.at(slots), limits)), self.monotone)

    @cached_property
    def _pyramids(self) -> tuple[Pyramid, Pyramid]:
        start, stop = self.bounds()
        return Pyramid(start), Pyramid(stop)


def _cut(edges: Edges | tuple[int, int], limits: range) -> Array:
    """Return (start, stop) within limits, which may be empty."""
    return np.clip(edges, limits.start, max(limits.start, limits.stop))


def tabulated(start: Array, stop: Array, cols: int) -> KeyRanges:
    """Return the key ranges with these edges, one entry a query slot."""
    stop = np.maximum(start, stop)
    monotone = bool(np.all(start[1:] >= start[:-1]) and np.all(stop[1:] >= stop[:-1]))
    return KeyRanges(len(start), cols, lambda slots: (start[slots], stop[slots]), monotone)


def in_pieces(start: Pieces, stop: Pieces, cols: int) -> KeyRanges:
    """Return the key ranges between two functions of the rows, as far as the first is below the second."""
    none, all_keys = Pieces.constant(start.length, 0), Pieces.constant(start.length, cols)
    start = start.larger(none).smaller(all_keys)
    start, stop = together(start, stop.smaller(all_keys).larger(start))
    monotone = start.rises and stop.rises
    return KeyRanges(start.length, cols, lambda slots: (start.at(slots), stop.at(slots)), monotone, (start, stop))


def hull(several: Sequence[KeyRanges]) -> KeyRanges:
    """Return key ranges that cover all of `several`, which have equal sizes."""

    def edges(slots: Array) -> Edges:
        starts, stops = zip(*(key_ranges.at(slots) for key_ranges in several), strict=True)
        return np.minimum.reduce(starts), np.maximum.reduce(stops)

    first, *others = several
    if not others:
        return first
    return KeyRanges(first.rows, first.cols, edges, all(key_ranges.monotone for key_ranges in several))


def everything(rows: int, cols: int) -> KeyRanges:
    """Return the key ranges with which every query sees every key."""
    return constant(rows, cols, 0, cols)


def constant(rows: int, cols: int, start: int, stop: int) -> KeyRanges:
    """Return the key ranges with which every query sees the same key slots."""

    def edges(slots: Array) -> Edges:
        return np.full(slots.shape, start, np.int64), np.full(slots.shape, stop, np.int64)

    return KeyRanges(rows, cols, edges, monotone=True, same=(start, stop))
