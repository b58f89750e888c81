"""Empty rows: whether every query sees a key, decided on the plan's passes."""

from __future__ import annotations

import numpy as np

from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array
from attncc.planner.bisect import pairs
from attncc.planner.passes import Group, Pass
from attncc.planner.search import TARGET, TILE, plan_for
from attncc.planner.shape import Shape
from attncc.planner.tiles import Tiles
from attncc.proof.finding import Finding, named, of_group

NAME = "no empty rows"


def prove(pattern: Pattern, shape: Shape) -> Finding:
    """Decide whether every query sees at least one key; the counterexample is a query."""
    for group in plan_for(pattern, shape, TILE, TARGET).groups:
        blind = np.flatnonzero(~_seeing(group, shape.q_len))
        if len(blind):
            where = of_group(group)
            query = int(blind[0]) + shape.q_offset
            count = f"{len(blind):,} queries see" if len(blind) > 1 else "one query sees"
            detail = f"{count} no key{named(where)}, the first of them {query}"
            return Finding(NAME, False, detail, {"i": query, **where})
    return Finding(NAME, True, "every query sees a key")


def _seeing(group: Group, q_len: int) -> Array:
    """Return which query rows see a key in a group.

    Passes with exact key ranges come first, those of every alternative: no pair is looked at for the rows they show.
    """
    seeing = np.zeros(q_len, bool)
    for work in (work for way in group.alternatives for work in way.passes if work.residual is None):
        if seeing.all():
            break
        start, stop = work.key_ranges.bounds()
        seeing[work.rows.at(np.flatnonzero(stop > start))] = True
    for work in (work for work in group.simplest.passes if work.residual is not None):
        if not seeing.all():
            _evaluate(work, seeing)
    return seeing


def _evaluate(work: Pass, seeing: Array) -> None:
    """Mark in `seeing` the rows that see a key of a pass with a residual.

    The runs of each query tile are looked at in rounds of 1, 2, 4, ... tiles, as long as one of its rows is blind.
    """
    places, tiles = work.rows.places, work.tiles
    query_tile = np.arange(len(places)) // tiles.block_m
    seeing[places[np.isin(query_tile, tiles.query_tile[tiles.full])]] = True
    begin, count = 0, 1
    while True:
        blind = np.unique(query_tile[~seeing[places]])
        part = _window(tiles, blind, begin, begin + count)
        if not len(part.query_tile):
            return
        for slots, _ in pairs(work.layout, work.q_offset, part):
            seeing[places[slots]] = True
        begin, count = begin + count, 2 * count


def _window(tiles: Tiles, chosen: Array, begin: int, end: int) -> Tiles:
    """Return the begin-th to before the end-th visited key tiles of the chosen query tiles, as PARTIAL runs."""
    kept = np.isin(tiles.query_tile, chosen)
    tile, start, stop = tiles.query_tile[kept], tiles.start[kept], tiles.stop[kept]
    length = stop - start
    before = np.cumsum(length) - length
    # Tiles of the same query tile that lie in earlier runs: runs are sorted by query tile.
    before -= before[np.searchsorted(tile, tile)]
    first, last = start + np.maximum(begin - before, 0), np.minimum(stop, start + end - before)
    some = last > first
    tile, first, last = tile[some], first[some], last[some]
    return Tiles(tiles.rows, tiles.cols, tiles.block_m, tiles.block_n, tile, first, last, np.zeros(len(tile), bool))
