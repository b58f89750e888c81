"""Segments: runs of query slots within key ranges that need no mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.order import ranges
from attncc.planner.pieces import Pieces

#: Kinds of step from one row to the next: both edges stay, or the stop grows by one, or anything else.
OTHER, FLAT, RAMP = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Segments:
    """S segments: rows first .. first+rows-1 see `width` keys from `start` (FLAT), or one more each row (RAMP).

    Attributes:
        kind, first, rows, start, width: (S,), int64.
    """

    kind: Array
    first: Array
    rows: Array
    start: Array
    width: Array

    def __len__(self) -> int:
        """The number of segments."""
        return len(self.kind)

    def chosen(self, which: Array) -> Segments:
        """Return the segments for which a bool array (S,) is True."""
        return Segments(*(x[which] for x in (self.kind, self.first, self.rows, self.start, self.width)))

    @property
    def row_slots(self) -> Array:
        """The query slots of all segments, one segment's after the other's."""
        return ranges(self.first, self.rows)


def segments(start: Array, stop: Array, shortest: int) -> tuple[Segments, Array]:
    """Return the mask-free segments of at least `shortest` rows, and the other rows that see any key.

    A row between two runs belongs to the first of them. Rows without keys are in neither.
    """
    rows = np.flatnonzero(stop > start)
    if not len(rows):
        return Segments(rows, rows, rows, rows, rows), rows
    kind = _steps(rows, start[rows], stop[rows])
    begin = np.flatnonzero(np.diff(kind, prepend=-1))
    kinds = kind[begin]
    end = np.append(begin[1:], len(kind))
    same = kinds != OTHER
    follows = np.zeros(len(begin), bool)
    follows[1:] = same[1:] & same[:-1]
    begin, end = begin + follows, end + same
    length = end - begin
    chosen = same & (length >= shortest)
    taken = np.zeros(len(rows) + 1, np.int64)
    np.add.at(taken, begin[chosen], 1)
    np.add.at(taken, end[chosen], -1)
    first = rows[begin[chosen]]
    found = Segments(kinds[chosen], first, length[chosen], start[first], (stop - start)[first])
    return found, rows[np.cumsum(taken[:-1]) == 0]


def segments_of(start: Pieces, stop: Pieces, shortest: int) -> tuple[Segments, Array]:
    """Return what `segments` does for key ranges in pieces, which have the same breakpoints."""
    rows = np.diff(start.first, append=start.length)
    some = (stop.base > start.base) | (stop.ends > start.ends)
    alike = (start.slope == 0) & ((stop.slope == 0) | (stop.slope == 1)) & (stop.base > start.base)
    chosen = alike & (rows >= shortest)
    kinds = np.where(stop.slope == 0, FLAT, RAMP)
    columns = (kinds, start.first, rows, start.base, stop.base - start.base)
    found = Segments(*(column[chosen] for column in columns))
    others = np.flatnonzero(some & ~chosen)
    return found, ranges(start.first[others], rows[others])


def _steps(rows: Array, start: Array, stop: Array) -> Array:
    """Classify the step from each row to the next; the last row has none."""
    kind = np.zeros(len(rows), np.int64)
    stays = (np.diff(rows) == 1) & (np.diff(start) == 0)
    grows = np.diff(stop)
    kind[:-1][stays & (grows == 0)] = FLAT
    kind[:-1][stays & (grows == 1)] = RAMP
    return kind
