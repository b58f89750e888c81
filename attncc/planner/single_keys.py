"""Tiles of a single key: which keys some query of a tile may see, from the tiles that hold any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncc.ir.interval import ALWAYS, NEVER
from attncc.ir.tables import Array
from attncc.planner.bisect import TileGrid, bisect
from attncc.planner.layout import Layout
from attncc.planner.order import opens
from attncc.planner.tiles import Tiles

#: Keys that are told apart together.
CHUNK = 1 << 18


def single_keys(layout: Layout, offset: int, block_m: int) -> Tiles:
    """Return the runs of a layout with sides, in tiles of `block_m` queries by one key; none is looked at."""
    found = zip(*_chunks(layout, offset, block_m), strict=True)
    tile, key, full = (np.concatenate(columns) for columns in found)
    begins = opens(tile, full)
    begins[1:] |= key[1:] != key[:-1] + 1
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(tile)) - 1 if len(first) else first
    return Tiles(layout.rows.size, layout.cols.size, block_m, 1, tile[first], key[first], key[last] + 1, full[first])


def _chunks(layout: Layout, offset: int, block_m: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (query tile, key, whether all queries of the tile see it), in order, of the keys that some may see."""
    grid = TileGrid(layout, offset, block_m, 1)
    square = bisect(layout, offset, block_m, block_m, looks=False)
    corners = square.in_runs(slice(None))
    for part in np.split(corners, range(CHUNK // block_m, len(corners), CHUNK // block_m)):
        key = (part[:, 1:] * block_m + np.arange(block_m)).ravel()
        single = np.column_stack([np.repeat(part[:, 0], block_m), key])[key < layout.cols.size]
        answer = grid.verdict(single, 1)
        seen = answer != NEVER
        yield single[seen, 0], single[seen, 1], answer[seen] == ALWAYS
