"""Exact tiles and key intervals of a predicate in the natural order of queries and keys.

Plans' tiles are of layouts, and PARTIAL is always allowed there. Those who hand a pattern to other kernels need the
tiles that looking at every pair would give. Key ranges give them without a look at pairs, other clauses where
intervals prove them; what is left is looked at, however long that takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncc.ir.normal import TooManyClausesError, rewritten
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner import membership
from attncc.planner.bisect import CHUNK, TileGrid, chunks
from attncc.planner.key_ranges import KeyRanges
from attncc.planner.layout import Layout, dense_layout, lay_out
from attncc.planner.order import ranges
from attncc.planner.relation import relate
from attncc.planner.search import possible_clauses
from attncc.planner.shape import Shape
from attncc.planner.sweep import LineRuns, counted
from attncc.planner.tiles import EMPTY, FULL, PARTIAL, Tiles, from_key_ranges

#: Positions of a side of the tiles in which pairs are looked at for intervals.
SIDE = 128
#: Rows of a tile that are looked at first: most PARTIAL tiles show there that they are.
GLANCE = 4


def natural_layouts(predicate: Predicate, shape: Shape) -> list[Layout]:
    """Return disjoint layouts in natural order that cover a predicate in i and j; one where it has too many clauses."""
    try:
        pieces = possible_clauses(predicate, shape)
    except TooManyClausesError:
        return [dense_layout(predicate, shape)]
    return [lay_out(relate(piece, shape.kv_len).in_natural_order(piece), shape) for piece in pieces]


def exact_tiles(predicate: Predicate, shape: Shape, block_m: int, block_n: int) -> Tiles:
    """Return the tiles of a predicate in i and j: FULL if it holds for all pairs, EMPTY if for none, else PARTIAL.

    A tile that is cut off by the end of an axis is PARTIAL unless it is EMPTY. Blocks are any positive integers.
    """
    if not shape.q_len or not shape.kv_len:
        return _tiles(shape, block_m, block_n, [], [])
    layouts = natural_layouts(predicate, shape)
    if any(layout.residual is not None for layout in layouts):
        return _looked_at(predicate, shape, layouts, block_m, block_n)
    if len(layouts) == 1 and layouts[0].key_ranges.monotone:
        return _between(layouts[0].key_ranges, shape, block_m, block_n)
    rows = np.arange(shape.q_len)
    return _tiles(shape, block_m, block_n, *_of_ranges(_in_rows(layouts, rows), block_m, block_n))


def key_intervals(predicate: Predicate, shape: Shape) -> LineRuns:
    """Return, for each query row, the maximal intervals of keys that it sees, sorted by row and key."""
    if not shape.q_len or not shape.kv_len:
        return LineRuns.together([])
    layouts = natural_layouts(predicate, shape)
    if all(layout.residual is None for layout in layouts):
        return _in_rows(layouts, np.arange(shape.q_len))
    tiles = _covering(shape, layouts, SIDE, SIDE)
    grid = TileGrid(dense_layout(predicate, shape), shape.q_offset, SIDE, SIDE)
    return LineRuns.together([_full_rows(tiles), *_partial_rows(grid, tiles)]).joined()


def transposed(predicate: Predicate, shape: Shape) -> tuple[Predicate, Shape]:
    """Return the predicate and shape in which keys ask which queries see them: row j sees column r."""
    swapped = {I: J + shape.q_offset, J: I}
    return rewritten(predicate, lambda expr: expr.xreplace(swapped)), Shape(shape.kv_len, shape.q_len)


def _in_rows(layouts: list[Layout], rows: Array) -> LineRuns:
    """Return the key intervals of some rows of layouts without residual."""
    return LineRuns.together([LineRuns(rows, *layout.key_ranges.at(rows)) for layout in layouts]).joined()


def _between(key_ranges: KeyRanges, shape: Shape, block_m: int, block_n: int) -> Tiles:
    """Return the tiles of one range of keys for each row, with ends that rise.

    The ranges of a tile's rows leave no gap where the last one begins before the first one ends. Other tiles of
    queries are taken row by row.
    """
    tile = np.arange(-(-shape.q_len // block_m))
    first = tile * block_m
    last = np.minimum(first + block_m, shape.q_len) - 1
    _, greatest_start, least_stop, _ = key_ranges.hull(first, last)
    apart = greatest_start > least_stop
    hull = from_key_ranges(key_ranges, block_m, block_n)
    hull = hull.select(~apart[hull.query_tile])
    rows = ranges(first[apart], (last - first + 1)[apart])
    start, stop = key_ranges.at(rows)
    touched, full = _of_ranges(LineRuns(rows, start, stop), block_m, block_n)
    own = LineRuns(hull.query_tile, hull.start, hull.stop)
    return _tiles(shape, block_m, block_n, [own, *touched], [own.of(hull.full), *full])


def _of_ranges(intervals: LineRuns, block_m: int, block_n: int) -> tuple[list[LineRuns], list[LineRuns]]:
    """Return the runs of tiles that the key intervals of rows touch, and those that they fill."""
    tile = intervals.line // block_m
    inside = LineRuns(tile, -(-intervals.start // block_n), intervals.stop // block_n)
    runs, (rows,) = counted([inside.of(inside.stop > inside.start)])
    outside = LineRuns(tile, intervals.start // block_n, -(-intervals.stop // block_n))
    return [outside.of(intervals.stop > intervals.start)], [runs.of(rows == block_m)]


def _covering(shape: Shape, layouts: list[Layout], block_m: int, block_n: int) -> Tiles:
    """Return the tiles of several layouts as intervals prove them; others are PARTIAL."""
    several = [
        from_key_ranges(layout.key_ranges, block_m, block_n)
        if layout.residual is None
        else membership.tiles(layout, shape.q_offset, block_m, block_n, looks=False)
        for layout in layouts
    ]
    touched = [LineRuns(tiles.query_tile, tiles.start, tiles.stop) for tiles in several]
    full = [runs.of(tiles.full) for runs, tiles in zip(touched, several, strict=True)]
    return _tiles(shape, block_m, block_n, touched, full)


def _looked_at(predicate: Predicate, shape: Shape, layouts: list[Layout], block_m: int, block_n: int) -> Tiles:
    """Return the tiles that layouts prove, with all others looked at."""
    covering = _covering(shape, layouts, block_m, block_n)
    grid = TileGrid(dense_layout(predicate, shape), shape.q_offset, block_m, block_n)
    touched = [LineRuns(covering.query_tile, covering.start, covering.stop).of(covering.full)]
    full = list(touched)
    for corners in covering.chunks(CHUNK * max(1, (SIDE // block_m) * (SIDE // block_n)), full=False):
        answer = _verdict(grid, corners)
        for runs, chosen in ((touched, answer != EMPTY), (full, answer == FULL)):
            line, start = corners[chosen].T
            runs.append(LineRuns(line, start, start + 1))
    return _tiles(shape, block_m, block_n, touched, full)


def _verdict(grid: TileGrid, corners: Array) -> Array:
    """Return the class of single tiles by their pairs: a few rows are looked at first."""
    answer = np.full(len(corners), PARTIAL)
    glance = np.unique(np.linspace(0, grid.block[0] - 1, GLANCE).astype(np.int64))
    holds, exists = grid.elements(corners, glance)
    alike = np.flatnonzero(~(np.any(holds & exists, axis=(1, 2)) & np.any(~holds & exists, axis=(1, 2))))
    for part in chunks(alike):
        holds, exists = grid.elements(corners[part])
        answer[part] = np.where(~np.any(holds & exists, axis=(1, 2)), EMPTY, PARTIAL)
        answer[part[np.all(holds & exists, axis=(1, 2))]] = FULL
    return answer


def _tiles(shape: Shape, block_m: int, block_n: int, touched: list[LineRuns], full: list[LineRuns]) -> Tiles:
    """Return tiles of the runs that aren't EMPTY and those that are FULL, which may lie over each other."""
    line, start, stop = LineRuns.together(full)
    ragged = shape.q_len // block_m, shape.kv_len // block_n  # from here on tiles are cut off
    whole = LineRuns(line, start, np.minimum(stop, ragged[1])).of(line < ragged[0])
    runs, (any_, all_) = counted([LineRuns.together([*touched, *full]), whole.of(whole.stop > whole.start)])
    kept, is_full = any_ > 0, all_ > 0
    parts = [runs.of(kept & (is_full == wanted)).joined() for wanted in (False, True)]
    labels = np.repeat([False, True], [len(part.line) for part in parts])
    both = LineRuns.together(parts)
    order = np.lexsort((both.start, both.line))
    return Tiles(shape.q_len, shape.kv_len, block_m, block_n, *both.of(order), labels[order])


def _full_rows(tiles: Tiles) -> LineRuns:
    """Return the runs of FULL tiles as key intervals of their rows."""
    chosen = tiles.full
    first = tiles.query_tile[chosen] * tiles.block_m
    height = np.minimum(tiles.block_m, tiles.rows - first)
    start, stop = (np.repeat(ends[chosen] * tiles.block_n, height) for ends in (tiles.start, tiles.stop))
    return LineRuns(ranges(first, height), start, stop)


def _partial_rows(grid: TileGrid, tiles: Tiles) -> Iterator[LineRuns]:
    """Yield the key intervals of the rows of PARTIAL tiles, a chunk of tiles at a time."""
    for corners in tiles.chunks(CHUNK, full=False):
        steps = np.diff(grid.holding(corners).astype(np.int8), axis=2, prepend=0, append=0)
        tile, row, start = np.nonzero(steps == 1)
        stop = np.nonzero(steps == -1)[2]
        first = corners[tile, 1] * tiles.block_n
        yield LineRuns(corners[tile, 0] * tiles.block_m + row, first + start, first + stop)
