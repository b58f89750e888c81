"""Adjacency: which units of keys the queries of each unit see, proved tile by tile, and how many pairs that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from attncc.distributed.schedules.partition import Chunking
from attncc.errors import PlanError
from attncc.frontend.templates import Tables, put
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner import membership
from attncc.planner.axis import Axis
from attncc.planner.layout import Layout
from attncc.planner.order import opens, ranges
from attncc.planner.search import fused_layout, layouts, possible_clauses
from attncc.planner.shape import Shape

#: Pairs of units that are listed at once, four times what default units make of any sequence on two ranks.
MOST_PAIRS = 1 << 26


@dataclass(frozen=True, eq=False)
class Strip:
    """A part of the adjacency: the queries of unit `query[n]` see units[start[n] : stop[n]], in `pairs[n]` pairs.

    `units` ascend, and so does `query`, which may name a unit several times. What isn't in any strip is unconnected.
    """

    units: Array
    query: Array
    start: Array
    stop: Array
    pairs: Array

    def select(self, chosen: Array) -> Strip:
        """Return the entries at `chosen`, a mask or numbers."""
        return Strip(self.units, self.query[chosen], self.start[chosen], self.stop[chosen], self.pairs[chosen])

    def scaled(self, factor: float) -> Strip:
        """Return the strip with `factor` times the pairs."""
        return replace(self, pairs=self.pairs * factor)

    def expanded(self) -> tuple[Array, Array]:
        """Return (query unit, key unit) of every pair of units."""
        length = self.stop - self.start
        return np.repeat(self.query, length), self.units[ranges(self.start, length)]

    def entries(self, queries: Array) -> tuple[Array, Array]:
        """Return (n, entry) for every entry of queries[n], by n."""
        first, last = np.searchsorted(self.query, queries), np.searchsorted(self.query, queries, side="right")
        length = last - first
        return np.repeat(np.arange(len(queries)), length), ranges(first, length)

    def coverage(self) -> Array:
        """Return how many entries reach each of `units`."""
        steps = np.zeros(len(self.units) + 1, np.int64)
        np.add.at(steps, self.start, 1)
        np.add.at(steps, self.stop, -1)
        found: Array = np.cumsum(steps[:-1])
        return found

    def reached(self, keys: Array) -> Array:
        """Return, for each entry, how many of the units where the mask `keys` holds it reaches."""
        before = np.concatenate([[0], np.cumsum(keys[self.units])])
        found: Array = before[self.stop] - before[self.start]
        return found


@dataclass(frozen=True, eq=False)
class Adjacency:
    """The strips of a pattern on a chunking; a pair of units may be in several strips, a pair of tokens is in one."""

    chunking: Chunking
    strips: tuple[Strip, ...]

    @cached_property
    def work(self) -> Array:
        """Pairs of the queries of each unit, float64 (chunking.count,)."""
        return sum(
            (np.bincount(strip.query, strip.pairs, self.chunking.count) for strip in self.strips),
            np.zeros(self.chunking.count),
        )

    @cached_property
    def places(self) -> tuple[Array, ...]:
        """For each strip, where each unit is among its units, -1 for nowhere, int64 (chunking.count,)."""
        found = tuple(np.full(self.chunking.count, -1) for _ in self.strips)
        for strip, place in zip(self.strips, found, strict=True):
            place[strip.units] = np.arange(len(strip.units))
        return found

    def between(self, queries: Array, keys: Array) -> Array:
        """Return which of the units `queries` see which of the units `keys` (both ascend), bool (len, len).

        Raises PlanError for more pairs than MOST_PAIRS.
        """
        _check_pairs(len(queries) * len(keys), self.chunking)
        row_of, col_of = (np.full(self.chunking.count, -1) for _ in range(2))
        row_of[queries], col_of[keys] = np.arange(len(queries)), np.arange(len(keys))
        seen = np.zeros((len(queries), len(keys)), bool)
        for strip in self.strips:
            part = strip.select(row_of[strip.query] >= 0)
            _check_pairs(int((part.stop - part.start).sum()), self.chunking)
            query, key = part.expanded()
            wanted = col_of[key] >= 0
            seen[row_of[query[wanted]], col_of[key[wanted]]] = True
        return seen

    def blocks(self, owner: Array, ranks: int) -> Array:
        """Return the pairs between the queries of each rank and the keys of each, float64 (ranks, ranks)."""
        found = np.zeros((ranks, ranks))
        for strip in self.strips:
            share = strip.pairs / (strip.stop - strip.start)
            for rank in range(ranks):
                found[:, rank] += np.bincount(owner[strip.query], share * strip.reached(owner == rank), ranks)
        return found


def _check_pairs(pairs: int, chunking: Chunking) -> None:
    if pairs > MOST_PAIRS:
        raise PlanError(
            f"{pairs:,} pairs of units of {chunking.size} tokens, between a rank and others.",
            rule=f"At most {MOST_PAIRS:,} are looked at for what travels, which takes about a gigabyte.",
            fix="Take larger units, or unit=0 for ones that suit the length.",
        )


def adjacency(
    predicates: Iterable[tuple[Predicate, int]], tables: Tables, shape: Shape, chunking: Chunking
) -> Adjacency:
    """Return the adjacency of several (predicate in i and j, number of heads that it is for) together."""
    strips = ((strips_of(predicate, tables, shape, chunking), heads) for predicate, heads in predicates)
    return Adjacency(chunking, tuple(strip.scaled(heads) for own, heads in strips for strip in own))


def strips_of(predicate: Predicate, tables: Tables, shape: Shape, chunking: Chunking) -> list[Strip]:
    """Return the strips of a predicate in i and j: one for each of its disjoint clauses that connects anything.

    Clauses are those of the predicate with its placeholders, which `tables` then replace.
    """
    try:
        pieces = possible_clauses(predicate, shape, tables)
    except TooManyClausesError:
        return _nonempty([_of_clause(iter([fused_layout(put(predicate, tables), [Clause({})], shape)]), chunking)])
    return _nonempty(_of_clause(layouts(piece, shape), chunking) for piece in pieces)


def _nonempty(strips: Iterable[Strip]) -> list[Strip]:
    return [strip for strip in strips if len(strip.query)]


def _of_clause(ways: Iterator[Layout], chunking: Chunking) -> Strip:
    """Return the strip of a clause, given its layouts: its own one, if that is exact and in the order of the chunking.

    Failing that, tiles of the natural order are classified; and in an order that neither fits, every query of the
    clause is taken to see every key of it, which is sound.
    """
    own = next(ways)
    if own.residual is None and _fits(own, chunking):
        return _stairs(own, chunking)
    pairs = None if own.residual is not None else _pairs(own, chunking)
    if chunking.axis.positions is None:
        return _tiles(next(ways, own), chunking, pairs)
    return _everything(own, chunking, pairs)


def _fits(layout: Layout, chunking: Chunking) -> bool:
    """Return whether both axes go through the chunking's units in their order."""
    return all(
        (axis.positions is None and chunking.axis.positions is None)
        or bool(np.all(np.diff(chunking.unit_of[axis.places]) >= 0))
        for axis in (layout.rows, layout.cols)
    )


def _pairs(layout: Layout, chunking: Chunking) -> Array:
    """Return the pairs of each unit's queries within the key ranges."""
    start, stop = layout.key_ranges.bounds()
    return np.bincount(chunking.unit_of[layout.rows.places], stop - start, chunking.count)


def _stairs(layout: Layout, chunking: Chunking) -> Strip:
    """Return the strip of a layout whose rows and keys ascend by unit."""
    start, stop = layout.key_ranges.bounds()
    rows = np.flatnonzero(stop > start)
    start, stop = start[rows], stop[rows]
    row_unit, col_unit = chunking.unit_of[layout.rows.at(rows)], chunking.unit_of[layout.cols.places]
    held = opens(col_unit)
    number = np.cumsum(held) - 1
    low, high = number[start], number[stop - 1] + 1
    if not len(rows):
        return Strip(col_unit[held], row_unit, low, high, np.zeros(0))
    first = np.flatnonzero(_breaks(row_unit, low, high))
    least, greatest = np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)
    pairs = np.add.reduceat((stop - start).astype(np.float64), first)
    return Strip(col_unit[held], row_unit[first], least, greatest, pairs)


def _units(axis: Axis, chunking: Chunking) -> Array:
    """Return the units that hold any position of an axis, ascending."""
    held = np.zeros(chunking.count, bool)
    held[chunking.unit_of[axis.places]] = True
    return np.flatnonzero(held)


def _breaks(unit: Array, low: Array, high: Array) -> Array:
    """Return where a row begins a new entry: in a new unit, or seeing nothing next to what the row before saw."""
    found = opens(unit)
    found[1:] |= (low[1:] > high[:-1]) | (high[1:] < low[:-1])
    return found


def _tiles(layout: Layout, chunking: Chunking, pairs: Array | None) -> Strip:
    """Return the strip of a layout in natural order: its tiles, of the size of units, that aren't proved EMPTY."""
    found = membership.tiles(layout, 0, chunking.size, chunking.size)
    length = found.stop - found.start
    area = length * float(chunking.size * chunking.size)
    if pairs is not None:
        share = length / np.maximum(np.bincount(found.query_tile, length, chunking.count), 1)[found.query_tile]
        area = pairs[found.query_tile] * share
    return Strip(np.arange(chunking.count), found.query_tile, found.start, found.stop, area)


def _everything(layout: Layout, chunking: Chunking, pairs: Array | None) -> Strip:
    """Return the strip in which all queries of a layout see all of its keys."""
    queries, keys = (_units(axis, chunking) for axis in (layout.rows, layout.cols))
    if not len(keys):
        queries = queries[:0]
    weight = chunking.sizes[queries] * float(layout.cols.size) if pairs is None else pairs[queries]
    return Strip(keys, queries, np.zeros_like(queries), np.full_like(queries, len(keys)), weight)
