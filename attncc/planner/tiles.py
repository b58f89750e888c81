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
from attncc.planner.key_ranges import KeyRanges
from attncc.planner.order import opens, order_by, ranges

EMPTY, PARTIAL, FULL = 0, 1, 2
#: Tiles that are listed together, and as many more as the runs that they end in have.
LISTED = 1 << 16


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
        return int((self.stop - self.start)[self.full].sum())

    @cached_property
    def num_partial(self) -> int:
        """Number of PARTIAL tiles."""
        return int((self.stop - self.start)[~self.full].sum())

    @property
    def num_tiles(self) -> int:
        """Number of tiles that are not EMPTY."""
        return self.num_full + self.num_partial

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
    """Return the runs of a layout whose key ranges are exact: at most PARTIAL, FULL, PARTIAL for each query tile."""
    tile = np.arange(-(-key_ranges.rows // block_m))
    first = tile * block_m
    last = np.minimum(first + block_m, key_ranges.rows) - 1
    least_start, greatest_start, least_stop, greatest_stop = key_ranges.hull(first, last)
    begin, end = least_start // block_n, -(-greatest_stop // block_n)
    end = np.where(greatest_stop > least_start, end, begin)
    full_begin = np.clip(-(-greatest_start // block_n), begin, end)
    full_end = np.clip(least_stop // block_n, full_begin, end)
    no_full = full_begin == full_end
    full_begin, full_end = np.where(no_full, end, full_begin), np.where(no_full, end, full_end)
    edges = np.stack([begin, full_begin, full_end, end], axis=1)
    starts, stops = edges[:, :-1].ravel(), edges[:, 1:].ravel()
    kept = stops > starts
    labels = np.tile([False, True, False], len(tile))
    return Tiles(
        key_ranges.rows,
        key_ranges.cols,
        block_m,
        block_n,
        np.repeat(tile, 3)[kept],
        starts[kept],
        stops[kept],
        labels[kept],
    )


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
