"""Causality: no query sees a later key, decided by planning the edges with j > i."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from attncc.frontend.patterns import Pattern
from attncc.ir.normal import comparison
from attncc.ir.symbols import I, J
from attncc.planner.bisect import pairs
from attncc.planner.passes import Group, Pass
from attncc.planner.search import TARGET, TILE, plan_for
from attncc.planner.shape import Shape
from attncc.planner.tiles import Tiles
from attncc.proof.finding import Finding, named, of_group

NAME = "causal"
#: Runs of tiles whose tiles are listed together.
CHUNK = 64


def prove(pattern: Pattern, shape: Shape) -> Finding:
    """Decide whether j <= i for every edge; the counterexample is an edge."""
    future = Pattern([pattern.predicate & comparison("ge", J - I - 1)], "future")
    for group in plan_for(future, shape, TILE, TARGET).groups:
        for work in group.passes:
            edge = _first(work)
            if edge is not None:
                return _refuted(*edge, group)
    return Finding(NAME, True, "no query sees a later key")


def _refuted(query: int, key: int, group: Group) -> Finding:
    where = of_group(group)
    return Finding(NAME, False, f"query {query} sees key {key}{named(where)}", {"i": query, "j": key, **where})


def _first(work: Pass) -> tuple[int, int] | None:
    """Return one edge of a pass, (query position, key position), or None if it has none."""
    if work.residual is not None:
        parts = (pairs(work.layout, work.q_offset, part) for part in _parts(work.tiles))
        pair = next(itertools.chain.from_iterable(parts), None)
        if pair is None:
            return None
        rows, cols = (slots[0] for slots in pair)
    else:
        start, stop = work.key_ranges.bounds()
        seeing = np.flatnonzero(stop > start)
        if not len(seeing):
            return None
        rows, cols = seeing[0], start[seeing[0]]
    slots = np.array([rows]), np.array([cols])
    return int(work.rows.at(slots[0])[0]) + work.q_offset, int(work.cols.at(slots[1])[0])


def _parts(tiles: Tiles) -> Iterator[Tiles]:
    """Yield the runs some at a time: the list of all their tiles may not fit in memory."""
    for begin in range(0, len(tiles.start), CHUNK):
        yield tiles.select(slice(begin, begin + CHUNK))
