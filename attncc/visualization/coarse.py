"""Tiles at the resolution of a picture: how much of each cell is visited, and of that how much is FULL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.ir.normal import rewritten
from attncc.ir.predicate import disjunction
from attncc.ir.tables import Array
from attncc.planner import bisect
from attncc.planner.axis import Axis
from attncc.planner.key_ranges import everything
from attncc.planner.layout import Layout
from attncc.planner.plan import Plan
from attncc.planner.tiles import EMPTY, FULL, PARTIAL, Tiles


@dataclass(frozen=True, eq=False)
class CoarseTiles:
    """Cells of `side` x `side` tiles, the last ones smaller.

    Attributes:
        cells: EMPTY, PARTIAL or FULL, int8 (rows, columns). A cell is FULL if all of its tiles are, and EMPTY too.
        visited: Share of the tiles of each cell that aren't EMPTY, float64 (rows, columns).
        side: Tiles along a cell.
    """

    cells: Array
    visited: Array
    side: int

    @classmethod
    def of(cls, tiles: Tiles, most: int) -> CoarseTiles:
        """Return tiles as at most `most` cells a side. It takes as long as there are runs, however many tiles."""
        grid = tiles.num_query_tiles, tiles.num_key_tiles
        side = 1
        while -(-max(*grid, 1) // side) > most:
            side *= 2
        area = np.outer(*(_sizes(count, side) for count in grid))
        total, full = (_counted(tiles.select(chosen), side, area.shape) for chosen in (slice(None), tiles.full))
        cells = np.where(total == 0, EMPTY, np.where(full == area, FULL, PARTIAL)).astype(np.int8)
        return cls(cells, total / area, side)


def natural_tiles(plan: Plan) -> Tiles:
    """Return the tiles of a plan's first group of heads where all queries and keys stay in their order."""
    shape, passes = plan.shape, plan.groups[0].passes
    predicate = rewritten(disjunction(work.predicate for work in passes))
    axes = Axis(shape.q_len), Axis(shape.kv_len)
    return bisect.bisect(Layout(*axes, everything(shape.q_len, shape.kv_len), predicate), shape.q_offset, *plan.tile)


def _sizes(count: int, side: int) -> Array:
    """Return how many of `count` tiles each cell along an axis has."""
    first = np.arange(0, count, side)
    sizes: Array = np.minimum(first + side, count) - first
    return sizes


def _counted(tiles: Tiles, side: int, shape: tuple[int, ...]) -> Array:
    """Return how many tiles the runs have in each cell, int64."""
    row = tiles.query_tile // side
    before: Array = _left_of(row, tiles.stop, side, shape) - _left_of(row, tiles.start, side, shape)
    return before


def _left_of(row: Array, ends: Array, side: int, shape: tuple[int, ...]) -> Array:
    """Return the tiles of each cell that lie left of the ends in its row: whole cells, and the rest in one more."""
    whole, rest = np.zeros((shape[0], shape[1] + 1), np.int64), np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(whole, (row, ends // side), side)
    np.add.at(rest, (row, ends // side), ends % side)
    beyond: Array = whole[:, ::-1].cumsum(axis=1)[:, ::-1] - whole
    return (beyond + rest)[:, :-1]
