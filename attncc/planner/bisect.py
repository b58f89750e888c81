"""Classification of tiles by recursive bisection with interval arithmetic, breadth first, all boxes at once.

A box of tiles that interval evaluation proves EMPTY or FULL stops; the others split in four, down to single
tiles, which are then looked at element by element while the budget lasts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.interval import ALWAYS, NEVER, SOMETIMES, Box, verdict
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.layout import Layout
from attncc.planner.tiles import Tiles, from_boxes

#: Live boxes beyond this number are kept whole as PARTIAL: sound, bounded, and a sign that another plan is better.
MAX_BOXES = 1 << 20
#: Elements of undecided tiles that are looked at one by one.
MAX_ELEMENTS = 1 << 23
#: Tiles that are looked at together.
CHUNK = 64
#: Corners of the four parts of a box, in sides of a part.
_QUARTERS = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])


def bisect(layout: Layout, offset: int, block_m: int, block_n: int, *, looks: bool = True) -> Tiles:
    """Return the runs of a layout with a residual; `offset` is the position of query row 0.

    Args:
        looks: Whether tiles that intervals leave undecided are looked at; else they are PARTIAL.
    """
    grid = TileGrid(layout, offset, block_m, block_n)
    found = [np.empty((0, 4), np.int64)]
    side = 1 << max(0, (max(grid.query_tiles, grid.key_tiles, 1) - 1).bit_length())
    live = np.zeros((1, 2), np.int64)
    while len(live):
        live = grid.inside(live)
        answer = grid.verdict(live, side)
        found.append(_boxes(live[answer == ALWAYS], side, full=True))
        live = live[answer == SOMETIMES]
        if side == 1 or 4 * len(live) > MAX_BOXES:
            break
        side //= 2
        live = (live[:, None, :] + _QUARTERS * side).reshape(-1, 2)
    undecided = grid.looked_at(live) if side == 1 and looks else np.full(len(live), SOMETIMES)
    found.append(_boxes(live[undecided == ALWAYS], side, full=True))
    found.append(_boxes(live[undecided == SOMETIMES], side, full=False))
    rows, cols = layout.rows.size, layout.cols.size
    return from_boxes(rows, cols, block_m, block_n, np.concatenate(found))


def _boxes(corners: Array, side: int, *, full: bool) -> Array:
    return np.column_stack([corners, np.full(len(corners), side), np.full(len(corners), full)]).astype(np.int64)


class TileGrid:
    """The tile grid of one layout, with verdicts over boxes of tiles."""

    def __init__(self, layout: Layout, offset: int, block_m: int, block_n: int) -> None:
        self.layout, self.offset = layout, offset
        self.block = np.array([block_m, block_n])
        self.sizes = np.array([layout.rows.size, layout.cols.size])
        self.query_tiles, self.key_tiles = (int(n) for n in -(-self.sizes // self.block))

    def inside(self, corners: Array) -> Array:
        """Keep the boxes that begin inside the grid."""
        return corners[np.all(corners * self.block < self.sizes, axis=1)]

    def verdict(self, corners: Array, side: int) -> Array:
        """Return NEVER, SOMETIMES or ALWAYS for boxes of side x side tiles."""
        first = corners * self.block
        last = np.minimum((corners + side) * self.block, self.sizes) - 1
        least_start, greatest_start, least_stop, greatest_stop = self.layout.key_ranges.hull(first[:, 0], last[:, 0])
        never = (last[:, 1] < least_start) | (first[:, 1] >= greatest_stop)
        always = (greatest_start <= first[:, 1]) & (last[:, 1] < least_stop)
        stairs = np.where(always, ALWAYS, np.where(never, NEVER, SOMETIMES))
        if self.layout.residual is None:
            return stairs
        sides = self.layout.sides
        box: Box = {} if sides is not None and not sides.depends_on_positions else self._positions(first, last)
        if sides is None:
            return np.minimum(stairs, verdict(self.layout.residual, box))
        row_bits, col_bits = (int(size).bit_length() - 1 for size in side * self.block)
        of_sides = sides.box(first[:, 0], row_bits, first[:, 1], col_bits)
        return np.minimum(stairs, verdict(sides.predicate, {**box, **of_sides}))

    def _positions(self, first: Array, last: Array) -> Box:
        """Return bounds of the positions of slots first..last, inclusive."""
        low, high = self.layout.rows.span(first[:, 0], last[:, 0])
        return {
            I: (low + self.offset, high + self.offset),
            J: self.layout.cols.span(first[:, 1], last[:, 1]),
        }

    def areas(self, corners: Array) -> Array:
        """Return the pairs of single tiles, connected or not; those at the ends of the axes have fewer."""
        sides = np.minimum(self.sizes - corners * self.block, self.block)
        found: Array = sides.prod(axis=1)
        return found

    def looked_at(self, corners: Array) -> Array:
        """Return the verdict on single tiles by evaluating their elements, SOMETIMES beyond the budget."""
        answer = np.full(len(corners), SOMETIMES)
        affordable = min(len(corners), MAX_ELEMENTS // int(self.block.prod()))
        for begin in range(0, affordable, CHUNK):
            chunk = corners[begin : min(begin + CHUNK, affordable)]
            holds, exists = self.elements(chunk)
            always = np.all(holds | ~exists, axis=(1, 2))
            never = ~np.any(holds & exists, axis=(1, 2))
            answer[begin : begin + len(chunk)] = np.where(never, NEVER, np.where(always, ALWAYS, SOMETIMES))
        return answer

    def holding(self, corners: Array) -> Array:
        """Return which pairs of single tiles are connected, bool (tiles, block_m, block_n)."""
        holds, exists = self.elements(corners)
        found: Array = holds & exists
        return found

    def elements(self, corners: Array, rows: Array | None = None) -> tuple[Array, Array]:
        """Return (holds, exists), bool (tiles, block_m, block_n), for single tiles; or for some rows of each tile."""
        row = corners[:, 0, None] * self.block[0] + (np.arange(self.block[0]) if rows is None else rows)
        col = corners[:, 1, None] * self.block[1] + np.arange(self.block[1])
        exists = (row < self.sizes[0])[:, :, None] & (col < self.sizes[1])[:, None, :]
        row, col = np.minimum(row, self.sizes[0] - 1), np.minimum(col, self.sizes[1] - 1)
        start, stop = self.layout.key_ranges.at(row)
        holds = (start[:, :, None] <= col[:, None, :]) & (col[:, None, :] < stop[:, :, None])
        if self.layout.residual is not None:
            env = {
                I: self.layout.rows.at(row)[:, :, None] + self.offset,
                J: self.layout.cols.at(col)[:, None, :],
            }
            holds = holds & evaluate_predicate(self.layout.residual, env)
        return holds, exists


def chunks(corners: Array) -> Iterator[Array]:
    """Yield single tiles in parts that are looked at together."""
    yield from (corners[first : first + CHUNK] for first in range(0, len(corners), CHUNK))


def count(layout: Layout, offset: int, tiles: Tiles) -> int:
    """Return the exact number of pairs of a layout with a residual: FULL tiles by area, PARTIAL ones by element."""
    grid = TileGrid(layout, offset, tiles.block_m, tiles.block_n)
    return tiles.full_pairs + sum(int(grid.holding(corners).sum()) for corners in tiles.chunks(CHUNK, full=False))


def pairs(layout: Layout, offset: int, tiles: Tiles) -> Iterator[tuple[Array, Array]]:
    """Yield the pairs of a layout with a residual as (query slots, key slots), a chunk of tiles at a time."""
    grid = TileGrid(layout, offset, tiles.block_m, tiles.block_n)
    for chunk in itertools.chain(tiles.chunks(CHUNK, full=True), tiles.chunks(CHUNK, full=False)):
        tile, row, col = np.nonzero(grid.holding(chunk))
        if len(tile):
            yield chunk[tile, 0] * tiles.block_m + row, chunk[tile, 1] * tiles.block_n + col
