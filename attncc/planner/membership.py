"""Memberships: where a residual asks whether a key is in a list, the tiles are found entry by entry, not by bisection.

It is a semi-join. Query slots have classes (the rows of lists that they look up), and so have key slots (the numbers
that are sought). An entry of a list is a query class with a key class, and stands for all pairs of slots of these. A
look-up of a table by blocks, `mask[i // 64, j // 64]`, is the same: its True entries are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from attncc._util import caching
from attncc.ir.evaluate import evaluate
from attncc.ir.interval import ALWAYS, NEVER, SOMETIMES
from attncc.ir.lists import IsMember
from attncc.ir.predicate import TRUE, And, Atom, Predicate, conjunction
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array, Read
from attncc.planner import bisect
from attncc.planner.bisect import TileGrid
from attncc.planner.layout import Layout
from attncc.planner.order import opens, order_by, ranges
from attncc.planner.single_keys import single_keys
from attncc.planner.tiles import Tiles, from_boxes

#: Pairs of tiles that entries are written out to at a time, and in all; beyond that the layout is bisected.
CHUNK, MOST = 1 << 22, 1 << 24
#: Numbers are found by an array over their range, in place of a search, if that has up to SPREAD entries for each.
SPREAD = 8
#: Entries of a table up to which those of a value are listed; one by pairs of positions has more.
MOST_EQUAL = 1 << 20


def tiles(layout: Layout, offset: int, block_m: int, block_n: int, *, looks: bool = True) -> Tiles:
    """Return the runs of a layout with a residual; `offset` is the position of query row 0.

    Args:
        looks: Whether tiles that intervals leave undecided are looked at; else they are PARTIAL.
    """
    if layout.sides is not None and block_n == 1:
        return single_keys(layout, offset, block_m)
    found = membership(layout, offset)
    if found is None or found.written(block_m, block_n) > MOST:
        return bisect.bisect(layout, offset, block_m, block_n, looks=looks and layout.sides is None)
    return found.tiles(block_m, block_n)


def count(layout: Layout, offset: int, tiles: Tiles) -> int:
    """Return the exact number of pairs of a layout with a residual, given its tiles."""
    found = membership(layout, offset)
    return bisect.count(layout, offset, tiles) if found is None else found.count(tiles)


def is_enumerated(layout: Layout) -> bool:
    """Return whether the residual of a layout holds only for pairs that the entries of a table list."""
    return layout.residual is not None and _listed(layout.residual) is not None


@caching.algebra(2)
def membership(layout: Layout, offset: int) -> Membership | None:
    """Return the membership in a layout's residual that has the fewest entries, if there is one.

    The last two are kept: tiles of several sizes are found in the two layouts of a clause, and then counted.
    """
    listing = None if layout.residual is None else _listed(layout.residual)
    if listing is None or layout.residual is None:
        return None
    read = listing.read
    rest = conjunction(part for part in _parts(layout.residual) if _listing(part) != listing)
    query, key = _Classes.of(layout.rows.size), _Classes.of(layout.cols.size)
    for number, (axis, entries) in enumerate(zip(read.args[1:], listing.coordinates, strict=True)):
        by_query = J not in axis.free_symbols
        env = {I: layout.rows.places + offset} if by_query else {J: layout.cols.places}
        places = np.asarray(evaluate(axis, env), np.int64)
        if number < len(read.shape):
            places = places.clip(0, read.shape[number] - 1)
        query, key = (query.by(places, entries), key) if by_query else (query, key.by(places, entries))
    order = order_by(query.entries, key.entries)
    others = replace(layout, residual=None if rest == TRUE else rest)
    return Membership(layout, others, offset, query.slots, key.slots, query.entries[order], key.entries[order])


def _listed(residual: Predicate) -> _Listing | None:
    """Return the comparison of a residual whose entries list its pairs, that with the fewest entries."""
    found = [listing for part in _parts(residual) if (listing := _listing(part)) is not None]
    few = [listing for listing in found if listing.number <= (MOST if listing.value is None else MOST_EQUAL)]
    if len(few) == 1:
        return few[0]
    return min(few, key=lambda listing: (listing.number, str(listing.read)), default=None)


def _parts(residual: Predicate) -> Sequence[Predicate]:
    return tuple(residual.args) if isinstance(residual, And) else (residual,)


def _listing(part: Predicate) -> _Listing | None:
    """Return a comparison as what lists its pairs, if it is a membership, or a table's entry with a value.

    Each axis has to depend on i or on j alone.
    """
    if not isinstance(part, Atom) or part.relation != "eq":
        return None
    constant, read = part.expr.as_coeff_Add()
    if not isinstance(read, Read) or (isinstance(read, IsMember) and constant != -1):
        return None
    apart = all(not {I, J} <= axis.free_symbols for axis in read.args[1:])
    value = None if isinstance(read, IsMember) else -int(constant)
    return _Listing(read, value) if apart and {I, J} <= read.free_symbols else None


class _Listing(NamedTuple):
    """A look-up that equals a value, or, None, a membership."""

    read: Read
    value: int | None

    @property
    def number(self) -> int:
        """Entries for which it holds."""
        return self.read.table.number_of(self.value)

    @property
    def coordinates(self) -> tuple[Array, ...]:
        """For each axis of the look-up, where these entries are: those of lists by row and number."""
        places = self.read.table.places_of(self.value)
        return places if self.value is not None else (*places[:-1], self.read.table.data[places])


@dataclass(frozen=True, eq=False)
class _Classes:
    """Class numbers of slots and of entries, alike where they belong together; -1 for slots without entries."""

    slots: Array
    entries: Array

    @classmethod
    def of(cls, slots: int) -> _Classes:
        """Return one class of all."""
        return cls(np.zeros(slots, np.int64), np.zeros(1, np.int64))

    def by(self, places: Array, entries: Array) -> _Classes:
        """Return the classes parted by an axis, given where slots and entries are along it."""
        place, number, known = _renumbered(places, entries)
        if not self.slots.any():  # all are in one class so far
            return _Classes(place, number)
        there = (self.slots >= 0) & (place >= 0)
        return _Classes(np.where(there, self.slots * known + place, -1), self.entries * known + number)


class _Occurrences(NamedTuple):
    """Which classes the slots of each tile have, and how many slots of the tile have each."""

    tile: Array
    number: Array
    slots: Array

    @classmethod
    def of(cls, classes: Array, block: int) -> _Occurrences:
        """Return those of slots cut into tiles, in their order."""
        tile = np.repeat(np.arange(-(-len(classes) // block)), block)[: len(classes)]
        first = np.flatnonzero(opens(tile, classes))
        slots = np.diff(np.append(first, len(classes)))
        kept = classes[first] >= 0
        found = cls(tile[first][kept], classes[first][kept], slots[kept])
        return cls(*_summed(found.tile, found.number, found.slots))

    def by_class(self) -> _Occurrences:
        """Return them in the order of classes."""
        order = order_by(self.number, self.tile)
        return _Occurrences(*(column[order] for column in self))


@dataclass(frozen=True, eq=False)
class Membership:
    """A layout whose residual is a membership and `others`, as classes of slots and the entries between classes.

    query, key: the class of each query slot and key slot, -1 for none. of_query, of_key: the classes of each entry, in
    lexicographic order. `offset` is the position of query row 0.
    """

    layout: Layout
    others: Layout
    offset: int
    query: Array
    key: Array
    of_query: Array
    of_key: Array

    def tiles(self, block_m: int, block_n: int) -> Tiles:
        """Return the runs of the tiles that entries are in."""
        grid, others = (TileGrid(layout, self.offset, block_m, block_n) for layout in (self.layout, self.others))
        decided, open_ = [_boxes(np.empty((0, 2), np.int64), [])], [np.empty((0, 2), np.int64)]
        for corners, pairs in self.within(block_m, block_n):
            answer = others.verdict(corners, 1)
            always = answer == ALWAYS
            decided.append(_boxes(corners[always], pairs[always] == grid.areas(corners[always])))
            open_.append(corners[answer == SOMETIMES])
        undecided = np.concatenate(open_)
        answer = grid.looked_at(undecided)
        decided.append(_boxes(undecided[answer != NEVER], answer[answer != NEVER] == ALWAYS))
        return from_boxes(len(self.query), len(self.key), block_m, block_n, np.concatenate(decided))

    def count(self, tiles: Tiles) -> int:
        """Return the exact number of pairs, by tiles where all of a tile's entries count, else pair by pair."""
        total, open_ = 0, [np.empty((0, 2), np.int64)]
        others = TileGrid(self.others, self.offset, tiles.block_m, tiles.block_n)
        for corners, pairs in self.within(tiles.block_m, tiles.block_n):
            answer = others.verdict(corners, 1)
            total += int(pairs[answer == ALWAYS].sum())
            open_.append(corners[answer == SOMETIMES])
        undecided = np.concatenate(open_)
        if not len(undecided):
            return total
        if len(undecided) * tiles.block_m * tiles.block_n <= self.written(1, 1):
            grid = TileGrid(self.layout, self.offset, tiles.block_m, tiles.block_n)
            return total + sum(int(grid.holding(chunk).sum()) for chunk in bisect.chunks(undecided))
        pairwise = TileGrid(self.others, self.offset, 1, 1)
        return sum(int(pairwise.holding(corners).sum()) for corners, _ in self.within(1, 1))

    def keys_of(self, queries: Array) -> Array:
        """Return which key slots the entries of the query slots `queries` list, a mask of all key slots."""
        (query, of_query), (key, of_key) = self._numbered
        asked, listed = np.zeros(len(self.of_query) + 1, bool), np.zeros(len(self.of_key) + 1, bool)
        asked[query[queries]] = True
        listed[of_key[asked[of_query]]] = True
        listed[-1] = False
        found: Array = listed[key]
        return found

    @cached_property
    def _numbered(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """The classes of slots and entries numbered by those that entries have, -1 for none, of queries and of keys."""
        sides = (self.query, self.of_query), (self.key, self.of_key)
        (query, of_query, _), (key, of_key, _) = (_renumbered(*side) for side in sides)
        return (query, of_query), (key, of_key)

    def written(self, block_m: int, block_n: int) -> int:
        """Return how many pairs of tiles the entries are written out to, before those that are alike are joined."""
        return int(self._weights(*self._occurrences(block_m, block_n)).sum())

    def within(self, block_m: int, block_n: int) -> Iterator[tuple[Array, Array]]:
        """Yield (query tile, key tile) of the tiles that entries are in, int64 (count, 2), and their pairs in each.

        Each tile comes once, in the order of the grid. With blocks of 1 these are the pairs themselves.
        """
        rows, cols = self._occurrences(block_m, block_n)
        part = (np.cumsum(self._weights(rows, cols)) // CHUNK)[np.searchsorted(rows.tile, rows.tile)]
        for chosen in np.split(np.arange(len(part)), np.flatnonzero(np.diff(part)) + 1):
            first, count = _range(self.of_query, rows.number[chosen])
            entry, row = ranges(first, count), np.repeat(chosen, count)
            first, count = _range(cols.number, self.of_key[entry])
            col, row = ranges(first, count), np.repeat(row, count)
            query, key, pairs = _summed(rows.tile[row], cols.tile[col], rows.slots[row] * cols.slots[col])
            yield np.column_stack([query, key]), pairs

    def _occurrences(self, block_m: int, block_n: int) -> tuple[_Occurrences, _Occurrences]:
        """Return the classes of query tiles and, in the order of classes, of key tiles; the last ones are kept."""
        blocks = block_m, block_n
        if blocks not in self._kept:
            self._kept.clear()
            rows, cols = _Occurrences.of(self.query, block_m), _Occurrences.of(self.key, block_n).by_class()
            self._kept[blocks] = rows, cols
        return self._kept[blocks]

    @cached_property
    def _kept(self) -> dict[tuple[int, int], tuple[_Occurrences, _Occurrences]]:
        return {}

    def _weights(self, rows: _Occurrences, cols: _Occurrences) -> Array:
        """Return how many pairs of tiles each occurrence of the query classes is written out to."""
        before = np.append(0, np.cumsum(_range(cols.number, self.of_key)[1]))
        first, count = _range(self.of_query, rows.number)
        found: Array = before[first + count] - before[first]
        return found


def _boxes(corners: Array, full: Array | Sequence[bool]) -> Array:
    return np.column_stack([corners, np.ones(len(corners), np.int64), np.asarray(full, np.int64)])


def _range(ascending: Array, numbers: Array) -> tuple[Array, Array]:
    """Return where each number begins in an ascending array, and how often it is there."""
    if not len(ascending) or not len(numbers):
        return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
    least, most = int(ascending[0]), int(ascending[-1])
    if _are_dense(least, most, ascending):
        counts = np.bincount(ascending - least)
        first, place = np.cumsum(counts) - counts, np.clip(numbers - least, 0, most - least)
        return first[place], np.where((least <= numbers) & (numbers <= most), counts[place], 0)
    first = np.searchsorted(ascending, numbers)
    return first, np.searchsorted(ascending, numbers, side="right") - first


def _renumbered(slots: Array, entries: Array) -> tuple[Array, Array, int]:
    """Return slots and entries as places among the different entries, -1 for other slots, and how many there are."""
    if not len(entries):
        return np.full(len(slots), -1), entries, 0
    least, most = int(entries.min()), int(entries.max())
    if _are_dense(least, most, entries):
        place = np.full(most - least + 2, -1)
        place[entries - least] = 0
        known = np.flatnonzero(place == 0)
        place[known] = np.arange(len(known))
        outside = (slots < least) | (slots > most)
        found = place[np.where(outside, -1, slots - least) if outside.any() else slots - least]
        return found, place[entries - least], len(known)
    different, number = np.unique(entries, return_inverse=True)
    found = np.minimum(np.searchsorted(different, slots), len(different) - 1)
    return np.where(different[found] == slots, found, -1), number, len(different)


def _are_dense(least: int, most: int, numbers: Array) -> bool:
    """Return whether numbers are so close that an array over their range costs less than a search."""
    return most - least < SPREAD * len(numbers)


def _summed(a: Array, b: Array, amount: Array) -> tuple[Array, Array, Array]:
    """Return the different pairs (a, b), in lexicographic order, and the sum of the amounts of each."""
    order = order_by(a, b)
    a, b, amount = a[order], b[order], amount[order]
    first = np.flatnonzero(opens(a, b))
    return a[first], b[first], np.add.reduceat(amount, first) if len(first) else amount
