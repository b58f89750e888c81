"""Adjacency: which units of keys the queries of each unit see, proved tile by tile, and how many pairs that is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from attncc.distributed.schedules.partition import Chunking
from attncc.errors import PlanError
from attncc.frontend.templates import Tables, put
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner import membership
from attncc.planner.axis import Axis
from attncc.planner.bound_groups import BoundPredicate
from attncc.planner.key_ranges import Edges
from attncc.planner.layout import Layout
from attncc.planner.membership import Membership
from attncc.planner.order import opens, ranges
from attncc.planner.search import fused_layout, layouts, possible_clauses
from attncc.planner.shape import Shape

#: Pairs of units that are listed at once, four times what default units make of any sequence on two ranks.
MOST_PAIRS = 1 << 26
#: Pairs of units that are listed at once to count those of ranks.
LISTED = 1 << 22


@dataclass(frozen=True, eq=False)
class Strip:
    """A part of the adjacency: the queries of unit `query[n]` see units[start[n] : stop[n]], in `pairs[n]` pairs.

    `units` ascend, and so does `query`, which may name a unit several times. What isn't in any strip is unconnected.
    layout: of which the strip lists the tiles, None where key ranges gave them.
    """

    units: Array
    query: Array
    start: Array
    stop: Array
    pairs: Array
    layout: Layout | None = None

    def select(self, chosen: Array | slice) -> Strip:
        """Return the entries at `chosen`, a mask, numbers or a slice."""
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

    @property
    def share(self) -> Array:
        """Pairs of each entry with one of the units that it reaches, spread evenly, float64."""
        share: Array = self.pairs / (self.stop - self.start)
        return share

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
    def memberships(self) -> tuple[Membership | None, ...]:
        """For each strip, the lists that name the keys of its queries, None where there are none."""
        layouts = (strip.layout for strip in self.strips)
        return tuple(None if layout is None else membership.membership(layout, 0) for layout in layouts)

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
            is_short = strip.stop - strip.start < ranks
            for entries in _within(strip.select(is_short), LISTED):
                query, key = entries.expanded()
                share = np.repeat(entries.share, entries.stop - entries.start)
                found += np.bincount(owner[query] * ranks + owner[key], share, ranks**2).reshape(ranks, ranks)
            if not is_short.all():
                long = strip.select(~is_short)
                for rank in range(ranks):
                    found[:, rank] += np.bincount(owner[long.query], long.share * long.reached(owner == rank), ranks)
        return found


def _within(strip: Strip, most: int) -> Iterator[Strip]:
    """Yield a strip in parts whose entries reach about `most` units together."""
    total = np.cumsum(strip.stop - strip.start)
    cuts = np.searchsorted(total, np.arange(most, int(total[-1]) if len(total) else 0, most)) + 1
    for first, last in itertools.pairwise([0, *np.unique(cuts), len(total)]):
        yield strip.select(slice(first, last))


def _check_pairs(pairs: int, chunking: Chunking) -> None:
    if pairs > MOST_PAIRS:
        raise PlanError(
            f"{pairs:,} pairs of units of {chunking.size} tokens, between a rank and others.",
            rule=f"At most {MOST_PAIRS:,} are looked at for what travels, which takes about a gigabyte.",
            fix="Take larger units, or unit=0 for ones that suit the length.",
        )


def adjacency(seen: Iterable[tuple[BoundPredicate, int]], shape: Shape, chunking: Chunking) -> Adjacency:
    """Return the adjacency of several (what is seen, number of heads that see it) together."""
    strips = ((strips_of(each.predicate, each.tables, shape, chunking), heads) for each, heads in seen)
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
        return _tiles(own if own.kind == "identity" else next(ways), chunking, pairs)
    return _everything(own, chunking, pairs)


def _fits(layout: Layout, chunking: Chunking) -> bool:
    """Return whether both axes go through the chunking's units in their order."""
    return all(
        (axis.positions is None and chunking.axis.positions is None)
        or bool(np.all(np.diff(chunking.unit_at(axis.places)) >= 0))
        for axis in (layout.rows, layout.cols)
    )


def _pairs(layout: Layout, chunking: Chunking) -> Array:
    """Return the pairs of each unit's queries within the key ranges."""
    start, stop = layout.key_ranges.bounds()
    return np.bincount(chunking.unit_at(layout.rows.places), stop - start, chunking.count)


def _stairs(layout: Layout, chunking: Chunking) -> Strip:
    """Return the strip of a layout whose rows and keys ascend by unit."""
    steps = _steps(layout, chunking)
    unit = chunking.unit_at(layout.rows.at(steps.row))
    held, number = _held(layout.cols, chunking)
    (low, high), (last_low, last_high) = ((number(a), number(b - 1) + 1) for a, b in (steps.first, steps.last))
    if not len(unit):
        return Strip(held, unit, low, high, steps.pairs)
    found = opens(unit)
    found[1:] |= (low[1:] > last_high[:-1]) | (high[1:] < last_low[:-1])  # sees nothing next to what it saw before
    entry = np.flatnonzero(found)
    least = np.minimum.reduceat(np.minimum(low, last_low), entry)
    greatest = np.maximum.reduceat(np.maximum(high, last_high), entry)
    return Strip(held, unit[entry], least, greatest, np.add.reduceat(steps.pairs, entry))


class _Steps(NamedTuple):
    """Rows of one unit that follow one another, and see keys that do: their first row, (start, stop) of the first and
    of the last one, and their pairs.
    """

    row: Array
    first: Edges
    last: Edges
    pairs: Array


def _steps(layout: Layout, chunking: Chunking) -> _Steps:
    """Return the rows that see any key: one by one, or of pieces as many as are in a unit."""
    pieces = layout.key_ranges.pieces
    if pieces is None or chunking.axis.order is not None or any(abs(each.slope).max() > 1 for each in pieces):
        begin, end = layout.key_ranges.bounds()
        rows = np.flatnonzero(end > begin)
        edges = begin[rows], end[rows]
        return _Steps(rows, edges, edges, (edges[1] - edges[0]).astype(np.float64))
    row = np.union1d(pieces[0].first, np.arange(0, layout.rows.size, chunking.size))
    start, stop = pieces[0].cut(row), pieces[1].cut(row)
    empty_first, empty_last = stop.base <= start.base, stop.ends <= start.ends  # no row between them is
    pairs = (start.last + 1 - row) * (stop.base - start.base + stop.ends - start.ends) / 2
    seen = pairs > 0
    first = (start.base + start.slope * empty_first)[seen], (stop.base + stop.slope * empty_first)[seen]
    last = (start.ends - start.slope * empty_last)[seen], (stop.ends - stop.slope * empty_last)[seen]
    return _Steps(row[seen], first, last, pairs[seen])


def _held(axis: Axis, chunking: Chunking) -> tuple[Array, Callable[[Array], Array]]:
    """Return the units that slots of an axis are in, which ascends by unit, and the number of a slot's unit in them."""
    if axis.order is None and chunking.axis.order is None:
        return np.arange(chunking.count), chunking.unit_at
    unit = chunking.unit_at(axis.places)
    held = opens(unit)
    number = np.cumsum(held) - 1
    return unit[held], lambda slots: number[slots]


def _units(axis: Axis, chunking: Chunking) -> Array:
    """Return the units that hold any position of an axis, ascending."""
    held = np.zeros(chunking.count, bool)
    held[chunking.unit_at(axis.places)] = True
    return np.flatnonzero(held)


def _tiles(layout: Layout, chunking: Chunking, pairs: Array | None) -> Strip:
    """Return the strip of a layout in natural order: its tiles, of the size of units, that aren't proved EMPTY."""
    found = membership.tiles(layout, 0, chunking.size, chunking.size)
    length = found.stop - found.start
    area = length * float(chunking.size * chunking.size)
    if pairs is not None:
        share = length / np.maximum(np.bincount(found.query_tile, length, chunking.count), 1)[found.query_tile]
        area = pairs[found.query_tile] * share
    return Strip(np.arange(chunking.count), found.query_tile, found.start, found.stop, area, layout)


def _everything(layout: Layout, chunking: Chunking, pairs: Array | None) -> Strip:
    """Return the strip in which all queries of a layout see all of its keys."""
    queries, keys = (_units(axis, chunking) for axis in (layout.rows, layout.cols))
    if not len(keys):
        queries = queries[:0]
    weight = chunking.sizes[queries] * float(layout.cols.size) if pairs is None else pairs[queries]
    return Strip(keys, queries, np.zeros_like(queries), np.full_like(queries, len(keys)), weight)
