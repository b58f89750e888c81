"""Exact counts by diagonals: what depends on i - j alone holds along whole diagonals, whose lengths are known.

Ranges of diagonals, cut where a comparison of d itself changes, are bisected with interval arithmetic, breadth first.
One where the predicate always holds is counted in closed form, and so is one where what is undecided repeats with a
period; the rest is looked at, each diagonal once. A query-by-key rectangle of any size is counted without a look at its
rows or pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from attncc.ir.diagonals import D, along_diagonals
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.interval import ALWAYS, NEVER, SOMETIMES, verdict
from attncc.ir.normal import spans_of
from attncc.ir.period import common_period, period
from attncc.ir.predicate import FALSE, TRUE, And, Atom, Predicate, conjunction
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array

#: Diagonals of a range that is looked at rather than split.
LEAF = 1 << 10
#: Leaves that are looked at together.
CHUNK = 64
#: Ranges at one depth beyond which none is searched for a period, and the longest period that is tabulated.
MAX_PERIODIC, MAX_PERIOD = 256, 1 << 20
#: From one diagonal to the next.
_ACROSS = frozenset([(D, 1)])


@dataclass(frozen=True)
class Rectangle:
    """Query positions first_i <= i < last_i and key positions first_j <= j < last_j."""

    first_i: int
    last_i: int
    first_j: int
    last_j: int

    def ranges(self, cuts: Collection[int]) -> list[tuple[int, int]]:
        """Return ranges (first, last), inclusive, of its diagonals; along each lengths grow, stay or shrink.

        None goes on across one of `cuts`, diagonals that begin a range.
        """
        low, high = self.first_i - self.last_j + 1, self.last_i - self.first_j - 1
        begins = sorted({self.first_i - self.first_j, self.last_i - self.last_j, *cuts})
        ends = [low, *(begin for begin in begins if low < begin <= high), high + 1]
        return [(a, b - 1) for a, b in itertools.pairwise(ends)]

    def lengths(self, diagonals: Array) -> Array:
        """Return the pairs on each of its diagonals, int64."""
        last, first = (
            np.minimum(self.last_i, diagonals + self.last_j),
            np.maximum(self.first_i, diagonals + self.first_j),
        )
        found: Array = last - first
        return found

    def area(self, first: Array, last: Array) -> int:
        """Return the pairs on all diagonals of the disjoint ranges first..last, inclusive."""
        return int((self._before(last + 1) - self._before(first)).sum())

    def _before(self, diagonals: Array) -> Array:
        """Pairs with i - j below each: those of a quadrant, less what lies outside, by inclusion and exclusion."""
        rows, cols = self.last_i - self.first_i, self.last_j - self.first_j
        reach = diagonals - (self.first_i - self.last_j + 1)
        corners = (_triangle(reach - cut) for cut in (rows, cols, rows + cols))
        return _triangle(reach) - next(corners) - next(corners) + next(corners)


def _triangle(side: Array) -> Array:
    """1 + 2 + ... + side, halved before it is multiplied: below 2^63 for sides below 2^32."""
    side = np.maximum(side, 0)
    return np.where(side % 2 == 0, side // 2 * (side + 1), (side + 1) // 2 * side)


def count(predicate: Predicate, q_len: int, kv_len: int, q_offset: int) -> int | None:
    """Return the exact number of pairs (i, j) with q_offset <= i < q_offset + q_len and 0 <= j < kv_len that hold.

    None where the predicate isn't shown to depend on i - j alone, apart from bounds of i and of j.
    """
    found = translation(predicate, Rectangle(q_offset, q_offset + q_len, 0, kv_len))
    return None if found is None else _count(*found)


def applies(predicate: Predicate) -> bool:
    """Return whether `count` counts the predicate."""
    return translation(predicate, Rectangle(0, 0, 0, 0)) is not None


def translation(predicate: Predicate, rectangle: Rectangle) -> tuple[Predicate, Rectangle] | None:
    """Return a predicate in D and a rectangle inside which it is `predicate`, which is empty outside of it, or None."""
    rest: list[Predicate] = []
    for part in predicate.args if isinstance(predicate, And) else (predicate,):
        cut = _cut(part, rectangle)
        if cut is None:
            rest.append(part)
        else:
            rectangle = cut
    along = along_diagonals(conjunction(rest))
    return None if along is None else (along, rectangle)


def _cut(part: Predicate, rectangle: Rectangle) -> Rectangle | None:
    """Return the part of the rectangle that a bound of i or of j leaves, None if it isn't such a bound."""
    if not isinstance(part, Atom) or part.expr.free_symbols not in ({I}, {J}):
        return None
    spans = spans_of(part)
    if len(spans) != 1 or spans[0].form not in (I, J) or spans[0].holes:
        return None
    low, high = spans[0].low, spans[0].high
    first, last = ("first_i", "last_i") if spans[0].form == I else ("first_j", "last_j")
    begin, end = getattr(rectangle, first), getattr(rectangle, last)
    begin = begin if low is None else min(max(begin, low), end)
    end = end if high is None else max(min(end, high + 1), begin)
    return replace(rectangle, **{first: begin, last: end})


def _count(predicate: Predicate, rectangle: Rectangle) -> int:
    if rectangle.first_i >= rectangle.last_i or rectangle.first_j >= rectangle.last_j:
        return 0
    total = 0
    first, last = (np.array(ends) for ends in zip(*rectangle.ranges(_cuts(predicate)), strict=True))
    while len(first):
        answer = verdict(predicate, {D: (first, last)})
        always, open_ = answer == ALWAYS, answer == SOMETIMES
        total += rectangle.area(first[always], last[always])
        first, last = first[open_], last[open_]
        if 0 < len(first) <= MAX_PERIODIC:
            closed, periodic = _closed(predicate, first, last, rectangle)
            total += closed
            first, last = first[~periodic], last[~periodic]
        small = last - first < LEAF
        total += _looked_at(predicate, first[small], last[small], rectangle)
        first, last = first[~small], last[~small]
        middle = (first + last) // 2
        first, last = np.concatenate([first, middle + 1]), np.concatenate([middle, last])
    return total


def _cuts(predicate: Predicate) -> set[int]:
    """Return the diagonals on both sides of which a comparison of D itself, or of a multiple, may differ."""
    cuts: set[int] = set()
    for atom in predicate.atoms:
        constant, rest = atom.expr.as_coeff_Add()
        factor, variable = rest.as_coeff_Mul()
        if variable == D:
            root = int(-constant // factor)
            cuts |= {root, root + 1}
    return cuts


def _looked_at(predicate: Predicate, first: Array, last: Array, rectangle: Rectangle) -> int:
    """Count ranges of at most LEAF diagonals, each diagonal evaluated."""
    total = 0
    for begin in range(0, len(first), CHUNK):
        part = slice(begin, begin + CHUNK)
        diagonals = first[part, None] + np.arange(LEAF)
        holds = evaluate_predicate(predicate, {D: diagonals}) & (diagonals <= last[part, None])
        total += int(rectangle.lengths(diagonals)[holds].sum())
    return total


def _closed(predicate: Predicate, first: Array, last: Array, rectangle: Rectangle) -> tuple[int, Array]:
    """Return the count of those ranges along which what is undecided repeats, and which ranges they are."""
    total, periodic = 0, np.zeros(len(first), bool)
    if not any(period(atom.expr, _ACROSS) for atom in predicate.atoms):
        return total, periodic
    for alike, rest in _residues(predicate, first, last):
        width = common_period(rest, _ACROSS)
        if width is None or width > MAX_PERIOD:
            continue
        chosen = alike[last[alike] - first[alike] >= 2 * width]
        if len(chosen):
            sums = _Periodic.of(rest, width)
            total += sum(sums.count(int(first[n]), int(last[n]), rectangle) for n in chosen)
            periodic[chosen] = True
    return total, periodic


def _residues(predicate: Predicate, first: Array, last: Array) -> Iterator[tuple[Array, Predicate]]:
    """Yield the ranges that decide the same comparisons, and the predicate with these put in."""
    atoms = list(predicate.atoms)
    answers = np.stack([verdict(atom, {D: (first, last)}) for atom in atoms])
    decided, group = np.unique(answers, axis=1, return_inverse=True)
    for number in range(decided.shape[1]):
        of_atom = dict(zip(atoms, decided[:, number].tolist(), strict=True))
        yield np.flatnonzero(group.ravel() == number), predicate.map(partial(_put_in, of_atom))


def _put_in(answers: Mapping[Atom, int], atom: Atom) -> Predicate:
    return {ALWAYS: TRUE, NEVER: FALSE}.get(answers[atom], atom)


@dataclass(frozen=True, eq=False)
class _Periodic:
    """Which of the diagonals 0 .. width-1 hold, as running counts and running sums, with Python's integers."""

    width: int
    counts: Array
    sums: Array

    @classmethod
    def of(cls, predicate: Predicate, width: int) -> _Periodic:
        holds = np.broadcast_to(evaluate_predicate(predicate, {D: np.arange(width)}), width)
        counts, sums = np.cumsum(holds), np.cumsum(np.where(holds, np.arange(width), 0))
        return cls(width, np.append(0, counts), np.append(0, sums))

    def count(self, first: int, last: int, rectangle: Rectangle) -> int:
        """Return the pairs on the diagonals first..last that hold; lengths are linear in between."""
        begin, end = (int(n) for n in rectangle.lengths(np.array([first, last])))
        slope = (end - begin) // (last - first)
        number, total = (b - a for a, b in zip(self._before(first), self._before(last + 1), strict=True))
        return number * (begin - slope * first) + slope * total

    def _before(self, diagonal: int) -> tuple[int, int]:
        """Number and sum of the diagonals that hold from 0 to before this one, negative for those below 0."""
        turns, rest = divmod(diagonal, self.width)
        number, total = int(self.counts[-1]), int(self.sums[-1])
        part, part_sum = int(self.counts[rest]), int(self.sums[rest])
        whole = turns * total + number * self.width * (turns * (turns - 1) // 2)
        return turns * number + part, whole + part_sum + turns * self.width * part
