"""Tiles: the (query tile x key tile) grid of a layout, as runs of PARTIAL and FULL key tiles per query tile.

A tile without a run is EMPTY. EMPTY and FULL are proved, PARTIAL is always allowed; the last key tile, if it is
cut off by the end of the axis, is PARTIAL, so that a kernel may read FULL tiles without looking at bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.axis import chunks
from attncc.planner.key_ranges import KeyRanges
from attncc.planner.order import opens, order_by, ranges

EMPTY, PARTIAL, FULL = 0, 1, 2
#: Tiles that are listed together, and as many more as the runs that they end in have.
LISTED = 1 << 16
#: Query tiles whose runs are found together: what is computed of them stays in the cache.
TOGETHER = 1 << 13


@dataclass(frozen=True, eq=False)
class Tiles:
    """Runs `start <= key tile < stop` of one class for a query tile, sorted by (query_tile, start)."""

    rows: int
    cols: int
    block_m: int
    block_n: int
    query_tile: Array
    start: Array
    stop: Array
    full: Array

    @property
    def num_query_tiles(self) -> int:
        return -(-self.rows // self.block_m)

    @property
    def num_key_tiles(self) -> int:
        return -(-self.cols // self.block_n)

    @cached_property
    def num_full(self) -> int:
        """Number of FULL tiles."""
        return int(((self.stop - self.start) * self.full).sum())

    @property
    def num_partial(self) -> int:
        """Number of PARTIAL tiles."""
        return self.num_tiles - self.num_full

    @cached_property
    def num_tiles(self) -> int:
        """Number of tiles that are not EMPTY."""
        return int(self.stop.sum() - self.start.sum())

    @property
    def visited(self) -> int:
        """Elements of all tiles that are not EMPTY, whole tiles counted."""
        return self.num_tiles * self.block_m * self.block_n

    @property
    def full_pairs(self) -> int:
        """Pairs of the FULL tiles; the last query tile may have fewer rows than others."""
        height = np.minimum(self.block_m, self.rows - self.query_tile * self.block_m)
        return int((height * (self.stop - self.start))[self.full].sum()) * self.block_n

    def corners(self, *, full: bool) -> Array:
        """Return (query tile, key tile) of every FULL or of every PARTIAL tile, int64 (count, 2)."""
        return self.in_runs(self.full == full)

    def chunks(self, most: int, *, full: bool) -> Iterator[Array]:
        """Yield `corners` in parts of at most `most` tiles; those of a few runs are listed at a time."""
        runs = np.flatnonzero(self.full == full)
        listed = np.cumsum((self.stop - self.start)[runs]) // LISTED
        for part in np.split(runs, np.flatnonzero(np.diff(listed)) + 1):
            corners = self.in_runs(part)
            yield from (corners[first : first + most] for first in range(0, len(corners), most))

    def in_runs(self, chosen: Array | slice) -> Array:
        """Return (query tile, key tile) of every tile of the runs at `chosen`, int64 (count, 2)."""
        length = (self.stop - self.start)[chosen]
        return np.column_stack([np.repeat(self.query_tile[chosen], length), ranges(self.start[chosen], length)])

    def select(self, chosen: Array | slice) -> Tiles:
        """Return the same grid with the runs at `chosen` only."""
        runs = (self.query_tile[chosen], self.start[chosen], self.stop[chosen], self.full[chosen])
        return Tiles(self.rows, self.cols, self.block_m, self.block_n, *runs)

    def classify(self) -> Array:
        """Return the grid, int8 (num_query_tiles, num_key_tiles), of EMPTY, PARTIAL and FULL."""
        grid = np.zeros((self.num_query_tiles, self.num_key_tiles + 1), np.int8)
        for full, label in ((False, PARTIAL), (True, FULL)):
            chosen = self.full == full
            np.add.at(grid, (self.query_tile[chosen], self.start[chosen]), label)
            np.add.at(grid, (self.query_tile[chosen], self.stop[chosen]), -label)
        dense: Array = np.cumsum(grid, axis=1, dtype=np.int8)[:, :-1]
        return dense


def from_key_ranges(key_ranges: KeyRanges, block_m: int, block_n: int) -> Tiles:
    """Return the runs of a layout whose key ranges are exact: at most PARTIAL, FULL, PARTIAL for each query tile.

    They are written to arrays that have room for all, of which no page is touched that no run needs.
    """
    tiles = -(-key_ranges.rows // block_m)
    runs, full = np.empty((3, 3 * tiles), np.int64), np.empty(3 * tiles, bool)
    number = 0
    for part in chunks(tiles, TOGETHER):
        edges = _edges(key_ranges, part, block_m, block_n)
        start, stop = edges[:-1].T.ravel(), edges[1:].T.ravel()
        kept = np.flatnonzero(stop > start)
        own = kept // 3
        new = slice(number, number + len(kept))
        runs[0, new], runs[1, new], runs[2, new] = part[own], start[kept], stop[kept]
        full[new] = kept - 3 * own == 1
        number += len(kept)
    query_tile, start, stop = runs[:, :number]
    return Tiles(key_ranges.rows, key_ranges.cols, block_m, block_n, query_tile, start, stop, full[:number])


def _edges(key_ranges: KeyRanges, tile: Array, block_m: int, block_n: int) -> Array:
    """Return where PARTIAL, FULL and PARTIAL key tiles of query tiles begin, and where the last end, int64 (4, tiles).

    Without FULL tiles all are in the first run.
    """
    first = tile * block_m
    last = np.minimum(first + (block_m - 1), key_ranges.rows - 1)
    least_start, greatest_start, least_stop, greatest_stop = key_ranges.hull(first, last)
    begin, full_begin, full_end, end = edges = np.empty((4, len(tile)), np.int64)
    np.floor_divide(least_start, block_n, out=begin)
    np.floor_divide(greatest_stop + (block_n - 1), block_n, out=end)
    np.copyto(end, begin, where=greatest_stop <= least_start)
    np.floor_divide(greatest_start + (block_n - 1), block_n, out=full_begin)
    np.floor_divide(least_stop, block_n, out=full_end)
    np.clip(full_begin, begin, end, out=full_begin)
    np.clip(full_end, full_begin, end, out=full_end)
    has_none = full_begin == full_end
    np.copyto(full_begin, end, where=has_none)
    np.copyto(full_end, end, where=has_none)
    return edges


def all_partial(rows: int, cols: int, block_m: int, block_n: int) -> Tiles:
    """Return one run of PARTIAL tiles for each query tile, over all keys."""
    tile = np.arange(-(-rows // block_m))
    stop = np.full(len(tile), -(-cols // block_n))
    return Tiles(rows, cols, block_m, block_n, tile, np.zeros_like(tile), stop, np.zeros(len(tile), bool))


def from_boxes(rows: int, cols: int, block_m: int, block_n: int, boxes: Array) -> Tiles:
    """Return the runs of disjoint square boxes, int64 columns (query tile, key tile, tiles a side, full)."""
    nq, nk = -(-rows // block_m), -(-cols // block_n)
    tile, start, stop, full = _unrolled(_joined(boxes), nq, nk)
    if cols % block_n:
        tile, start, stop, full = _demoted(tile, start, stop, full, nk - 1)
    order = order_by(tile, start)
    tile, start, stop, full = tile[order], start[order], stop[order], full[order]
    begins = opens(tile, full)
    begins[1:] |= start[1:] != stop[:-1]
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(tile)) - 1 if len(first) else first
    return Tiles(rows, cols, block_m, block_n, tile[first], start[first], stop[last], full[first])


def _joined(boxes: Array) -> Array:
    """Return rectangles, columns (query tile, key tile, height, width, full): boxes beside each other are one.

    Those of a side of 1 are left alone: as rows they are joined later.
    """
    is_large = boxes[:, 2] > 1
    if not is_large.any():
        return boxes[:, [0, 1, 2, 2, 3]]
    large = boxes[is_large]
    row, col, side, full = large[order_by(large[:, 2], large[:, 3], large[:, 0], large[:, 1])].T
    begins = opens(side, full, row)
    begins[1:] |= col[1:] != col[:-1] + side[:-1]
    first = np.flatnonzero(begins)
    width = np.diff(np.append(first, len(row))) * side[first]
    wide = np.column_stack([row[first], col[first], side[first], width, full[first]])
    small = boxes[~is_large]
    return np.concatenate([small[:, [0, 1, 2, 2, 3]], wide])


def _unrolled(rectangles: Array, nq: int, nk: int) -> tuple[Array, Array, Array, Array]:
    """One run for each query tile of each rectangle, clipped to the grid."""
    row, col, height, width, full = rectangles.T
    height = np.minimum(height, nq - row)
    owner = np.repeat(np.arange(len(rectangles)), height)
    return ranges(row, height), col[owner], np.minimum(col + width, nk)[owner], full[owner].astype(bool)


def _demoted(tile: Array, start: Array, stop: Array, full: Array, ragged: int) -> tuple[Array, Array, Array, Array]:
    """Split the ragged last key tile off FULL runs, as PARTIAL."""
    touches = full & (stop > ragged)
    tile = np.concatenate([tile, tile[touches]])
    start = np.concatenate([start, np.full(touches.sum(), ragged)])
    stop = np.concatenate([np.where(touches, ragged, stop), np.full(touches.sum(), ragged + 1)])
    full = np.concatenate([full, np.zeros(touches.sum(), bool)])
    kept = stop > start
    return tile[kept], start[kept], stop[kept], full[kept]
