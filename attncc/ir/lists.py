"""Lists: rows of integers, of which a predicate asks whether a number is in one (random blocks, top-k, routing).

They are kept as a table in canonical form: each row ascends, with -1 in front for none, so that membership is a binary
search and equal lists have equal content.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from attncc.ir.tables import Array, Read, TableData, TableSymbol

#: Rows of a box that are looked at one by one.
MAX_ROWS = 4
#: Numbers that are marked for each value that is sought, at most.
MOST_SPREAD = 4
#: Entries are below this bound, so that those next to them fit 64 bits.
LIMIT = 1 << 62


class IsMember(Read):
    """`IsMember(lists, row, ..., value)` is 1 where a number is in a row of lists, else 0."""

    is_nonnegative = True

    @classmethod
    def eval(cls, lists: sympy.Expr, *args: sympy.Expr) -> sympy.Expr | None:
        """Return the number that it is for a number in a list of one row."""
        is_known = isinstance(lists, TableSymbol) and not lists.table.is_placeholder
        if is_known and len(args) == 1 and args[0].is_Integer:
            return sympy.Integer(int(contains(lists.table.data, (), int(args[0]))))
        return None

    @property
    def indices(self) -> tuple[sympy.Expr, ...]:
        return tuple(self.args[1:-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return super().shape[:-1]

    @property
    def value(self) -> sympy.Expr:
        """The number that is sought."""
        return self.args[-1]


def canonical(data: Array) -> Array:
    """Return lists (..., K) with each row ascending, and -1 in front for negative and repeated entries.

    Columns that are -1 in all rows are left out, but for one.
    """
    rows: Array = np.sort(np.maximum(data, -1), axis=-1)
    repeated = rows[..., 1:] == rows[..., :-1]
    rows[..., 1:][repeated] = -1
    rows.sort(axis=-1)
    used = np.flatnonzero((rows >= 0).any(tuple(range(rows.ndim - 1))))
    first = min(used, default=rows.shape[-1] - 1)
    return rows[..., first:]


def canonical_there(rows: Any) -> Any:
    """Return what `canonical` does of a tensor, on its device; all columns are kept, since that doesn't wait for it."""
    rows = rows.clamp(min=-1).sort(-1).values
    repeated = rows[..., 1:] == rows[..., :-1]
    rows[..., 1:].masked_fill_(repeated, -1)
    return rows.sort(-1).values


def is_canonical(data: Array) -> bool:
    """Return whether the rows of a table ascend, -1 in front for none."""
    if data.dtype == bool or data.min() < -1 or data.max() >= LIMIT:
        return False
    before, after = data[..., :-1], data[..., 1:]
    return bool(np.all((before < after) | (before == -1)))


def rank(lists: Any, row: tuple[Any, ...], value: Any) -> Any:
    """Return how many entries of rows are below values, of which numpy's or torch's arrays broadcast."""
    size = lists.shape[-1]
    found: Any = 0
    step = 1 << (size.bit_length() - 1)
    while step:
        last = found + (step - 1)
        below = (lists[(*row, _at_most(last, size - 1))] < value) & (last < size)
        found = found + step * below
        step //= 2
    return found


def contains(lists: Any, row: tuple[Any, ...], value: Any) -> Any:
    """Return 1 where values are in rows of lists, else 0: numpy's or torch's arrays broadcast, int64."""
    size = lists.shape[-1]
    found = rank(lists, row, value)
    return ((lists[(*row, _at_most(found, size - 1))] == value) & (found < size) & (value >= 0)) * 1


def contains_crossed(lists: Array, row: tuple[Any, ...], value: Array) -> Array | None:
    """Return what `contains` does of rows (..., L, 1) and values (..., 1, M), without a search for each pair.

    The entries of a row are marked among the numbers from the least value to the greatest. None where searches are less
    work: values are far apart, or few beside the entries.
    """
    entries, count = lists.shape[-1], value.shape[-1]
    low = value.min(-1, keepdims=True)
    place = value - low
    width = int(place.max()) + 1
    if width > MOST_SPREAD * count or entries > count * entries.bit_length():
        return None
    found = lists[row][..., 0, :] - low
    found[(found < np.maximum(-low, 0)) | (found >= width)] = width  # a column that nobody asks for
    marked = np.zeros((*found.shape[:-1], width + 1), np.int64)
    np.put_along_axis(marked, found, 1, -1)
    if width == count and np.all(place == np.arange(count)):
        return marked[..., :count]
    return np.take_along_axis(marked, np.broadcast_to(place, (*marked.shape[:-1], count)), -1)


def bounds(table: TableData, row: list[tuple[Array, Array]], value: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return bounds of a membership over boxes: exact for up to MAX_ROWS rows that follow one another."""
    if table.is_placeholder:
        shape = np.broadcast_shapes(*(np.shape(end) for ends in (*row, value) for end in ends))
        return np.zeros(shape, np.int64), np.ones(shape, np.int64)
    rows = table.data.reshape(-1, table.data.shape[-1])
    low, high = (np.clip(end, -1, table.largest + 1).astype(np.int64) for end in value)
    first, last, follow = _numbered(row, table.data.shape[:-1], np.broadcast_shapes(low.shape, high.shape))
    least, greatest = table.row_pyramid.bounds([(first, last)])
    some = (low <= greatest) & (high >= least)
    every = np.zeros(some.shape, bool)
    few = follow & (last - first < MAX_ROWS) & some
    if few.any():
        first, last, low, high = (np.broadcast_to(x, some.shape)[few] for x in (first, last, low, high))
        counts = [_within(rows, np.minimum(first + n, last), low, high) for n in range(int((last - first).max()) + 1)]
        some[few], every[few] = np.max(counts, 0) > 0, np.min(counts, 0) == high - low + 1
    return every.astype(np.int64), some.astype(np.int64)


def _numbered(row: list[tuple[Array, Array]], sizes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Return the first and last row of boxes, numbered one after the other, and whether all between are in the box."""
    first, last, follow = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.ones(shape, bool)
    for (low, high), size in zip(row, sizes, strict=True):
        follow = follow & (first == last)
        first, last = (
            before * size + np.clip(end, 0, size - 1).astype(np.int64) for before, end in ((first, low), (last, high))
        )
    return first, last, follow


def _within(rows: Array, row: Array, low: Array, high: Array) -> Array:
    """Return how many entries of rows are from low to high, none of which is negative."""
    found: Array = rank(rows, (row,), high + 1) - rank(rows, (row,), np.maximum(low, 0))
    return found


def _at_most(value: Any, most: int) -> Any:
    return min(value, most) if isinstance(value, int) else value.clip(0, most)
