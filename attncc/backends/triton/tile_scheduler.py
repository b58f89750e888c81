"""The tile scheduler: tiles as work items of a kernel's grid, longest first, none much longer than the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.key_ranges import KeyRanges, tabulated
from attncc.planner.order import opens, ranges
from attncc.planner.passes import Pass
from attncc.planner.tiles import Tiles, from_key_ranges

#: Programs that a processor should get, where there is work for them.
PROGRAMS_EACH = 2
#: Parts are not shorter than this many tiles: they would cost more than they save.
SHORTEST_PART = 8


@dataclass(frozen=True, eq=False)
class WorkItems:
    """Work items, each a tile or a part of one, in launch order; all arrays are int32."""

    items: Array  # rows (tile, full, partial, end): runs full .. partial-1 are full, partial .. end-1 partial
    runs: Array  # rows (first, last + 1) of tiles of the other axis
    tiles: Array  # rows (tile, first part, last part + 1) of split tiles
    part_numbers: Array  # the part that each item is; numbered along a tile's row, not in launch order


def longest(tiles: Tiles, heads: int, processors: int) -> int:
    """Return the most tiles that an item should have: a fair share of all work, unless no row has twice that."""
    totals = _totals(tiles) if len(tiles.start) else np.zeros(1, np.int64)
    fair = max(SHORTEST_PART, -(-int(totals.sum()) * heads // (PROGRAMS_EACH * processors)))
    most = int(totals.max())
    return fair if most > 2 * fair else max(most, 1)


def schedule(tiles: Tiles, most: int, *, every_tile: bool) -> tuple[WorkItems, WorkItems]:
    """Return the items of tiles of at most `most` tiles, and those of query tiles that are split into such items.

    With `every_tile`, tiles without a run have an item too, so that their rows are written.
    """
    order = np.lexsort((tiles.start, ~tiles.full, tiles.query_tile))
    tile, start, stop, full = (x[order] for x in (tiles.query_tile, tiles.start, tiles.stop, tiles.full))
    length = stop - start
    totals = _totals(tiles)
    before = np.cumsum(totals) - totals  # tiles in the runs of all earlier rows
    owner, chunk, first, last = _cut(start, stop, np.cumsum(length) - length - before[tile], most)
    tile, full = tile[owner], full[owner]
    is_split = totals > most
    whole = _items(tile, chunk, first, last, full, ~is_split[tile])
    if every_tile:
        empty = np.zeros((int((totals == 0).sum()), 4), np.int32)
        empty[:, 0] = np.flatnonzero(totals == 0)
        whole = replace(whole, items=np.concatenate([whole.items, empty]))
    return whole, _items(tile, chunk, first, last, full, is_split[tile])


def transposed(work: Pass) -> Tiles:
    """Return the tiles of a pass with keys as rows: for each key tile, its runs of query tiles.

    FULL tiles are whole: the last query tile, if cut off, is PARTIAL.
    """
    if work.residual is None and work.key_ranges.monotone:
        return from_key_ranges(_inverse(work.key_ranges), work.block_n, work.block_m)
    tiles = work.tiles
    full, partial = (tiles.corners(full=kind)[:, ::-1] for kind in (True, False))
    cells = np.concatenate([full, partial])
    is_full = np.repeat([True, False], [len(full), len(partial)])
    if tiles.rows % tiles.block_m:
        is_full &= cells[:, 1] != tiles.num_query_tiles - 1
    order = np.lexsort((cells[:, 1], cells[:, 0]))
    (tile, other), is_full = cells[order].T, is_full[order]
    begins = opens(tile, is_full)
    begins[1:] |= other[1:] != other[:-1] + 1
    first = np.flatnonzero(begins)
    length = np.diff(np.append(first, len(tile)))
    runs = tile[first], other[first], other[first] + length, is_full[first]
    return Tiles(tiles.cols, tiles.rows, tiles.block_n, tiles.block_m, *runs)


def _inverse(key_ranges: KeyRanges) -> KeyRanges:
    """Return, for each key slot, the query slots that see it: a range, since key ranges are nondecreasing."""
    start, stop = key_ranges.bounds()
    keys = np.arange(key_ranges.cols)
    return tabulated(
        np.searchsorted(stop, keys, side="right"), np.searchsorted(start, keys, side="right"), key_ranges.rows
    )


def _totals(tiles: Tiles) -> Array:
    """Return the number of tiles in the runs of each row of tiles."""
    length = tiles.stop - tiles.start
    return np.bincount(tiles.query_tile, weights=length, minlength=tiles.num_query_tiles).astype(np.int64)


def _cut(start: Array, stop: Array, offset: Array, most: int) -> tuple[Array, Array, Array, Array]:
    """Cut runs where their row's tiles, counted from `offset`, reach a multiple of `most`.

    Returns the run that each piece comes from, the number of its part, and where it starts and stops.
    """
    begin = offset // most
    count = (offset + stop - start - 1) // most - begin + 1
    owner, chunk = np.repeat(np.arange(len(start)), count), ranges(begin, count)
    shift = start[owner] - offset[owner]
    first = np.maximum(start[owner], chunk * most + shift)
    last = np.minimum(stop[owner], (chunk + 1) * most + shift)
    return owner, chunk, first, last


def _items(tile: Array, chunk: Array, first: Array, last: Array, full: Array, chosen: Array) -> WorkItems:
    """Group the chosen runs, sorted by (tile, chunk, partial after full), into items, longest first."""
    tile, chunk, first, last, full = (x[chosen] for x in (tile, chunk, first, last, full))
    begin = np.flatnonzero(opens(tile, chunk))
    end = np.append(begin[1:], len(tile))[: len(begin)]
    fulls = np.add.reduceat(full, begin, dtype=np.int64) if len(begin) else begin
    lengths = np.add.reduceat(last - first, begin) if len(begin) else begin
    items = np.column_stack([tile[begin], begin, begin + fulls, end])
    rows, at = np.unique(items[:, 0], return_index=True)
    tiles = np.column_stack([rows, at, np.append(at[1:], len(items))]) if len(rows) else np.zeros((0, 3))
    # Equally long items keep their order: those that run at a time are neighbours, and share tiles in L2.
    order = np.argsort(-lengths, kind="stable")
    return WorkItems(*(x.astype(np.int32) for x in (items[order], np.column_stack([first, last]), tiles, order)))
