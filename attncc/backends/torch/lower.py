"""Lowering: passes become tile batches, batches of equal-shaped work items.

Within exact key ranges, rows in a run whose start stays and whose stop stays or grows by one a row need no mask: they
are rectangles and causal triangles. All other rows are cut into tiles with a mask. Under a residual, a tile takes the
plan's PARTIAL key tiles with a mask. It takes FULL ones without where they are many, or many more than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from attncc.backends.slots import Slots
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.masks import Mask, key_ranges_mask
from attncc.backends.torch.tile_batch import TileBatch
from attncc.frontend.pages import Pages
from attncc.ir.tables import Array
from attncc.planner.axis import Axis
from attncc.planner.listing import KeyList, positions
from attncc.planner.order import ranges
from attncc.planner.passes import Pass
from attncc.planner.segments import RAMP, Segments, segments, segments_of
from attncc.planner.tiles import Tiles

#: Times as many keys in FULL tiles as in others, of which the FULL ones are an item of their own, without a mask.
MOSTLY = 4
#: The most runs that a gathered batch is parted into; each is a call of its own.
MOST_RUNS = 16
#: The most shapes of small items for each of which there is a call; such a shape has fewer pairs than LEAST_PAIRS. A
#: call for as many pairs of 8 heads takes less time than to gather their rows for tiles with masks.
MOST_SHAPES, LEAST_PAIRS = 16, 1 << 12
#: The most key tiles of a query tile, on average, that aren't looked at under a residual.
NARROW = 4
#: Keys of a range of a single query's, on average, from which each range is a launch of its own: a view, and a merge.
LEAST_VIEWED = 64
#: The row of a single query.
_ONE_ROW = Slots((1, 1), 0, (0, 1))


@dataclass(eq=False, slots=True)
class TileSchedule:
    """The tile batches of a group of heads, in order.

    `covered` says that some `first` batch writes each query row.
    """

    tile_batches: tuple[TileBatch, ...]
    covered: bool


def schedule(
    passes: tuple[Pass, ...], q_len: int, tiling: Tiling, told_by: Callable[[], tuple[Pass, ...]] = tuple
) -> TileSchedule:
    """Return the tile batches of disjoint passes over `q_len` query rows.

    Args:
        passes: The passes to run, in order.
        q_len: The number of query rows.
        tiling: How to cut items.
        told_by: Gives passes of the same pairs whose key ranges tell best which keys no query sees, if that is asked;
            by default `passes`.
    """
    parts = [tiles for part in passes for tiles in _parted(_tile_batches(part, tiling))]
    touched = np.zeros(q_len, bool)
    stored = np.zeros(q_len, bool)
    used = _used_keys(told_by() or passes) if any(tiles.mask is not None for tiles in parts) else None
    tile_batches = []
    for tiles in parts:
        rows = tiles.rows.rows()
        first = not touched[rows].any()
        touched[rows] = True
        if first:
            stored[rows] = True
        tile_batches.append(_in_pages(replace(tiles, first=first, unused=_unused(tiles, used)), passes[0]))
    return TileSchedule(tuple(tile_batches), bool(stored.all()))


def listed(own: KeyList, pages: Pages | None) -> list[TileBatch]:
    """Return the tile batches of a plan's only query on keys that are listed: views of those in long ranges."""
    keys = own.keys
    if not len(keys):
        return []
    if isinstance(keys, tuple) and (len(keys) == 1 or sum(map(len, keys)) >= LEAST_VIEWED * len(keys)):
        cols = [Slots((1, len(part)), part.start, (0, part.step)) for part in keys]
    else:
        cols = [Slots.of(positions(keys)[None])]
    if pages is None or own.batches is None:
        return [TileBatch(_ONE_ROW, slots, None, False, slots is cols[0]) for slots in cols]
    [entry] = own.batches
    rows = [Slots.of(pages.rows(entry, slots.rows()), keep=True) for slots in cols]
    pairs = zip(cols, rows, strict=True)
    return [TileBatch(_ONE_ROW, slots, first=slots is cols[0], paged=paged) for slots, paged in pairs]


def _used_keys(passes: tuple[Pass, ...]) -> Array | None:
    """Return whether some query may see each key, as far as key ranges tell; None if all keys are seen."""
    if not passes:
        return None
    used = np.zeros(passes[0].cols.length, bool)
    for part in passes:
        start, stop = part.key_ranges.bounds()
        some = start < stop
        opened = np.bincount(start[some], minlength=part.cols.size + 1)
        closed = np.bincount(stop[some], minlength=part.cols.size + 1)
        seen = np.flatnonzero(np.cumsum(opened - closed)[:-1] > 0)
        used[part.cols.at(seen)] = True
    return None if used.all() else used


def _unused(tiles: TileBatch, used: Array | None) -> Array | None:
    if used is None or tiles.mask is None:
        return None
    found = ~used[tiles.cols.rows()]
    return found if found.any() else None


def _in_pages(tiles: TileBatch, part: Pass) -> TileBatch:
    """Return a batch with the rows where its keys lie; all passes of a group have the same pages."""
    if part.pages is None:
        return tiles
    return replace(tiles, paged=Slots.of(part.key_rows(tiles.cols.rows()), keep=True))


def _parted(tile_batches: Iterable[TileBatch]) -> Iterator[TileBatch]:
    """Part gathered batches into runs of items a step apart, where few such runs make all of them views.

    In a sorted layout these are the items of one class, whose rows lie a stride apart.
    """
    for tiles in tile_batches:
        gathered = tiles.rows.index is not None or tiles.cols.index is not None
        runs = _runs(tiles) if gathered and tiles.rows.items > 1 else []
        views = [_as_views(tiles.chunk(*run)) for run in runs]
        yield from views if views and all(map(_is_view, views)) else [tiles]


def _runs(tiles: TileBatch) -> list[tuple[int, int]]:
    """Return (first, last + 1) of each run of items with one step between them; nothing if there are many runs."""
    corners = np.column_stack([tiles.rows.rows()[:, 0], tiles.cols.rows()[:, 0]])
    steps = np.diff(corners, axis=0)
    found: list[tuple[int, int]] = []
    first = 0
    while first < len(corners) and len(found) <= MOST_RUNS:
        other = np.flatnonzero((steps[first:] != steps[first : first + 1]).any(1))
        last = first + int(other[0]) + 1 if len(other) else len(corners)
        found.append((first, last))
        first = last
    return found if len(found) <= MOST_RUNS else []


def _as_views(tiles: TileBatch) -> TileBatch:
    return replace(tiles, rows=Slots.of(tiles.rows.rows()), cols=Slots.of(tiles.cols.rows()))


def _is_view(tiles: TileBatch) -> bool:
    return tiles.rows.index is None and tiles.cols.index is None


def _tile_batches(part: Pass, tiling: Tiling) -> Iterator[TileBatch]:
    return _under_key_ranges(part, tiling) if is_under_key_ranges(part) else _tiled_by_plan(part, tiling)


def is_under_key_ranges(part: Pass) -> bool:
    """Return whether items are cut by the key ranges, not by the plan's tiles.

    So are those under a residual that reads tables, where key ranges are narrow: few tiles could be skipped, and to
    look at them takes as long as to mask them.
    """
    if part.residual is None:
        return True
    if part.is_enumerated or not part.skips or not part.residual.tables:
        return False
    return part.hull.num_tiles <= NARROW * part.hull.num_query_tiles


def _under_key_ranges(part: Pass, tiling: Tiling) -> Iterator[TileBatch]:
    if part.rows.size == 1:
        yield from _of_one_row(part)
        return
    if part.key_ranges.pieces is not None:
        found, rest = segments_of(*part.key_ranges.pieces, tiling.segment)
    else:
        found, rest = segments(*part.key_ranges.bounds(), tiling.segment)
    if part.residual is not None:
        found, rest = _without(found, rest, found.kind == RAMP)
    found, rest = _of_few_shapes(found, rest)
    yield from _mask_free(found, part)
    if len(rest):
        start, stop = part.key_ranges.bounds()
        for tile_rows in _tiles(_bridged(rest, start, stop, tiling.query_tile), tiling.query_tile):
            yield from _masked(tile_rows, start, stop, part, tiling)


def _of_few_shapes(found: Segments, rest: Array) -> tuple[Segments, Array]:
    """Leave segments to tiles with masks where they are small and have many shapes, each of which is a call."""
    columns = np.column_stack([found.kind, found.rows, found.width])
    _, which = np.unique(columns, axis=0, return_inverse=True)
    pairs = np.bincount(which.ravel(), found.rows * (found.width + found.rows * (found.kind == RAMP) // 2))
    small = pairs < LEAST_PAIRS
    if small.sum() <= MOST_SHAPES:
        return found, rest
    return _without(found, rest, small[which.ravel()])


def _without(found: Segments, rest: Array, dropped: Array) -> tuple[Segments, Array]:
    """Return segments without some, a bool array (S,), whose rows join the rest."""
    return found.chosen(~dropped), np.sort(np.concatenate([rest, found.chosen(dropped).row_slots]))


def _bridged(rest: Array, start: Array, stop: Array, size: int) -> Array:
    """Return rows with those between them that see no key, fewer than `size` at a time, where they are in many runs.

    Tiles of all lengths below `size` would be left at the ends of runs otherwise.
    """
    steps = np.diff(rest)
    if (steps != 1).sum() <= MOST_SHAPES:
        return rest
    short = np.flatnonzero((steps > 1) & (steps <= size))
    between = ranges(rest[short] + 1, steps[short] - 1)
    return np.sort(np.concatenate([rest, between[start[between] >= stop[between]]]))


def _of_one_row(part: Pass) -> Iterator[TileBatch]:
    """The item of a single query, which sees all keys of its key range."""
    start, stop = part.key_ranges.of_row(0)
    if start < stop:
        yield TileBatch(_one_item(part.rows, 0, 1), _one_item(part.cols, start, stop))


def _one_item(axis: Axis, first: int, last: int) -> Slots:
    """Return the slots of one item: first .. last-1 of an axis."""
    if axis.order is None:
        return Slots((1, last - first), first, (0, 1))
    return _slots(axis, np.arange(first, last)[None])


def _mask_free(found: Segments, part: Pass) -> Iterator[TileBatch]:
    """Rectangles, then triangles, of equal-shaped segments; a residual masks the rectangles."""
    ramps = found.kind == RAMP
    before = found.width - ramps
    for (rows, keys), members in _alike_in(found.rows, before, chosen=before > 0):
        yield _block(part, found.first[members], found.start[members], rows, keys)
    for (rows,), members in _alike_in(found.rows, chosen=ramps):
        yield replace(_block(part, found.first[members], (found.start + before)[members], rows, rows), causal=True)


def _alike_in(*columns: Array, chosen: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield the different rows of some columns (T,), with the items (T,) that have each, of those that are `chosen`."""
    items = np.flatnonzero(chosen)
    shapes, which = np.unique(np.column_stack(columns)[items], axis=0, return_inverse=True)
    ends = np.cumsum(np.bincount(which.ravel()))
    for shape, members in zip(shapes, np.split(items[np.argsort(which.ravel(), kind="stable")], ends), strict=False):
        yield tuple(map(int, shape)), members


def _block(
    part: Pass, row: Array, col: Array, rows: int, keys: int, edges: tuple[Array, Array] | None = None
) -> TileBatch:
    """Items of rows x keys slots from query slots `row` and key slots `col` (T,) on, within key ranges (T, rows)."""
    query, key = row[:, None] + np.arange(rows), col[:, None] + np.arange(keys)
    at = part.rows.at(query), part.cols.at(key)
    mask = None
    if part.residual is not None:
        start, stop = edges or (np.broadcast_to(x, query.shape) for x in (key[:, :1], key[:, -1:] + 1))
        mask = Mask(start, stop, key, part.residual, at[0] + part.q_offset, at[1])
    elif edges is not None:
        mask = key_ranges_mask(*edges, col, keys)
    return TileBatch(Slots.of(at[0]), Slots.of(at[1]), mask)


def _slots(axis: Axis, slots: Array) -> Slots:
    return Slots.of(axis.at(slots))


def _tiles(rows: Array, size: int) -> Iterator[Array]:
    """Cut the remaining rows, consecutive ones together, into tiles of `size`; yield them by length, (T, L) slots."""
    if not len(rows):
        return
    opens = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
    lengths = np.diff(np.append(opens, len(rows)))
    whole = lengths // size
    if whole.any():
        yield rows[np.repeat(opens, whole) + ranges(0, whole) * size][:, None] + np.arange(size)
    tails = lengths % size
    for tail in np.unique(tails[tails > 0]):
        chosen = tails == tail
        yield rows[(opens + whole * size)[chosen]][:, None] + np.arange(tail)


def _masked(tile: Array, start: Array, stop: Array, part: Pass, tiling: Tiling) -> Iterator[TileBatch]:
    """Masked items for tiles of rows (T, L); a wide range of keys that all rows see is split off, without mask."""
    begin, end = start[tile], stop[tile]
    low, core_low, core_high, high = begin.min(1), begin.max(1), end.min(1), end.max(1)
    wide = core_high - core_low >= tiling.core
    core_low, core_high = np.where(wide, core_low, high), np.where(wide, core_high, high)
    for first, last in ((low, core_low), (core_low, core_high), (core_high, high)):
        yield from _range(tile, first, last, begin, end, part, tiling)


def _range(
    tile: Array, low: Array, high: Array, begin: Array, end: Array, part: Pass, tiling: Tiling
) -> Iterator[TileBatch]:
    """Items of rows `tile` (T, L) on the key slots low .. high-1 of each, batched by rounded width."""
    begin, end = np.maximum(begin, low[:, None]), np.minimum(end, high[:, None])
    rounded = -(-(high - low) // tiling.key_multiple) * tiling.key_multiple
    all_seen = (begin == low[:, None]).all(1) & (end == high[:, None]).all(1)
    few = len(np.unique((high - low)[all_seen])) <= MOST_SHAPES
    width = np.where(all_seen & few, high - low, rounded)
    width = np.minimum(width, part.cols.size)
    first = np.maximum(high - width, 0)  # what rounding adds lies to the left, where a causal tile has room
    for (keys, _), chosen in _alike_in(width, high < width, chosen=high > low):
        relative = np.hstack([begin[chosen], end[chosen]]) - first[chosen, None]
        for members in _alike(chosen, relative):
            edges = begin[members], end[members]
            yield _block(part, tile[members, 0], first[members], tile.shape[1], keys, edges)


def _alike(items: Array, edges: Array) -> list[Array]:
    """Part the items (T,) that have the middle one's edges (T, 2L) from the rest, where most do.

    One item that differs, as at the end of a sequence, would keep all others from being views and sharing one mask.
    """
    same = (edges == edges[len(edges) // 2]).all(1)
    return [items[same], items[~same]] if len(items) / 2 < same.sum() < len(items) else [items]


def _tiled_by_plan(part: Pass, tiling: Tiling) -> Iterator[TileBatch]:
    """Items of a pass with a residual: one per query tile and bundle of key tiles."""
    found = part.tiles
    long = found.full & ((found.stop - found.start) * found.block_n >= tiling.core)
    for run in np.flatnonzero(long):
        tile, first = int(found.query_tile[run]), int(found.start[run]) * found.block_n
        rows = np.arange(tile * found.block_m, min((tile + 1) * found.block_m, found.rows))
        keys = np.arange(first, int(found.stop[run]) * found.block_n)
        yield TileBatch(_slots(part.rows, rows[None]), _slots(part.cols, keys[None]))
    free = ~long & _mask_free_runs(found, ~long, tiling.core)
    yield from _bundles(part, free, tiling, masked=False)
    yield from _bundles(part, ~long & ~free, tiling, masked=True)


def _mask_free_runs(found: Tiles, chosen: Array, core: int) -> Array:
    """Return which FULL runs make an item without a mask: those of a query tile with many keys in them, or most."""
    keys = np.where(chosen, (found.stop - found.start) * found.block_n, 0)
    of_full, of_partial = (
        np.bincount(found.query_tile, keys * kind)[found.query_tile] for kind in (found.full, ~found.full)
    )
    free: Array = found.full & (of_full >= np.minimum(core, MOSTLY * of_partial))
    return free


def _bundles(part: Pass, chosen: Array, tiling: Tiling, *, masked: bool) -> Iterator[TileBatch]:
    found = part.tiles
    row, col = found.in_runs(chosen).T
    opens = np.flatnonzero(np.diff(row, prepend=-1))
    counts = np.diff(np.append(opens, len(row)))
    most = max(1, tiling.core // found.block_n * 8)
    pieces: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for begin, count in zip(opens, counts, strict=True):
        rows = min(found.block_m, found.rows - int(row[begin]) * found.block_m)
        for first in range(0, count, most):
            tiles = min(most, count - first)
            pieces.setdefault((first, rows, tiles), []).append((int(row[begin]), int(begin + first)))
    for (_, rows, tiles), members in pieces.items():  # the items of one batch have distinct rows
        query_tile, first_tile = np.array(members).T
        key_tiles = col[first_tile[:, None] + np.arange(tiles)]
        yield from _bundle(part, query_tile, key_tiles, rows, masked=masked)


def _bundle(part: Pass, query_tile: Array, key_tiles: Array, rows: int, *, masked: bool) -> Iterator[TileBatch]:
    """Items of `rows` query slots of each query tile on the key tiles (T, count) listed for it, by common masks."""
    found = part.tiles
    query = query_tile[:, None] * found.block_m + np.arange(rows)
    key = (key_tiles[:, :, None] * found.block_n + np.arange(found.block_n)).reshape(len(key_tiles), -1)
    key = key[:, : (key < found.cols).sum(1).max()]  # the ragged key tile comes last
    inside = np.minimum(key, found.cols - 1)
    if not masked:
        yield TileBatch(_slots(part.rows, query), _slots(part.cols, inside))
        return
    start, stop = part.key_ranges.at(query)
    positions = part.rows.at(query) + part.q_offset, part.cols.at(inside)
    mask = Mask(start, stop, np.where(key < found.cols, key, -1), part.residual, *positions)
    for items, own in mask.parted():
        yield TileBatch(_slots(part.rows, query[items]), _slots(part.cols, inside[items]), own)
