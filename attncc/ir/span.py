"""Spans: the values that a comparison, or several of one integer expression, leave to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import sympy

from attncc._util import caching
from attncc.ir.interval import natural_bounds
from attncc.ir.predicate import Atom, Predicate, conjunction

#: Spans with at most this many numbers between them are written as one span with holes.
MAX_HOLES = 8


@dataclass(frozen=True)
class Span:
    """`low <= form <= high` with `holes` left out; None is no bound."""

    form: sympy.Expr
    low: int | None = None
    high: int | None = None
    holes: frozenset[int] = frozenset()

    @property
    def value(self) -> int | None:
        """The only value allowed, if there is one."""
        return self.low if self.low is not None and self.low == self.high else None

    def meet(self, other: Span) -> Span:
        """Return the intersection of two spans of one form."""
        low = max((x for x in (self.low, other.low) if x is not None), default=None)
        high = min((x for x in (self.high, other.high) if x is not None), default=None)
        return tidy(Span(self.form, low, high, self.holes | other.holes))

    def within(self, other: Span) -> bool:
        """Return whether this span is shown to imply `other`; both are tidy."""
        above = other.low is None or (self.low is not None and self.low >= other.low)
        below = other.high is None or (self.high is not None and self.high <= other.high)
        return above and below and all(map(self.leaves_out, other.holes))

    @property
    def is_empty(self) -> bool:
        return self.low is not None and self.high is not None and self.low > self.high

    @property
    def is_free(self) -> bool:
        return self.low is None and self.high is None and not self.holes

    def predicate(self) -> Predicate:
        """Return the span as comparisons."""
        return self._predicate

    @cached_property
    def _predicate(self) -> Predicate:
        if self.value is not None:
            return Atom("eq", self.form - self.value)
        parts: list[Predicate] = [Atom("ne", self.form - hole) for hole in sorted(self.holes)]
        if self.low is not None:
            parts.append(Atom("ge", self.form - self.low))
        if self.high is not None:
            parts.append(Atom("ge", self.high - self.form))
        return conjunction(parts)

    def complement(self) -> list[Span]:
        """Return disjoint spans that together hold exactly where this one doesn't."""
        outside = [Span(self.form, hole, hole) for hole in sorted(self.holes)]
        if self.low is not None:
            outside.append(Span(self.form, None, self.low - 1))
        if self.high is not None:
            outside.append(Span(self.form, self.high + 1, None))
        return [span for span in map(tidy, outside) if not span.is_empty]

    def intervals(self) -> list[Span]:
        """Return disjoint spans without holes whose union this is."""
        edges = [None, *sorted(self.holes), None]
        parts = [
            Span(self.form, self.low if a is None else a + 1, self.high if b is None else b - 1)
            for a, b in itertools.pairwise(edges)
        ]
        return [span for span in map(tidy, parts) if not span.is_empty]

    def leaves_out(self, value: int) -> bool:
        """Return whether `value` is shown to be outside the span."""
        below = self.low is not None and value < self.low
        return below or (self.high is not None and value > self.high) or value in self.holes

    def __str__(self) -> str:
        return f"{self.low}<={_text(self.form)}<={self.high}!{sorted(self.holes)}"


def union(a: Span, b: Span) -> Span | None:
    """Return the union of two spans of one form as one span, or None if more than MAX_HOLES numbers lie between."""
    gap: range | tuple[int, ...] = ()
    for left, right in ((a, b), (b, a)):
        if left.high is not None and right.low is not None and left.high < right.low:
            gap = range(left.high + 1, right.low)
    if len(gap) > MAX_HOLES:
        return None
    low = None if a.low is None or b.low is None else min(a.low, b.low)
    high = None if a.high is None or b.high is None else max(a.high, b.high)
    holes = {hole for hole in {*a.holes, *b.holes, *gap} if a.leaves_out(hole) and b.leaves_out(hole)}
    return tidy(Span(a.form, low, high, frozenset(holes)))


def tidy(span: Span) -> Span:
    """Drop bounds that always hold, pull bounds in past holes, and mark what can't hold as empty."""
    least, most = _natural(span.form)
    low = least if span.low is None else max(span.low, least)
    high = most if span.high is None else min(span.high, most)
    while low in span.holes and low <= high:
        low += 1
    while high in span.holes and low <= high:
        high -= 1
    if low > high:
        return Span(span.form, 1, 0)
    if low == high:
        return Span(span.form, low, high)
    holes = frozenset(hole for hole in span.holes if low < hole < high)
    return replace(span, low=None if low <= least else low, high=None if high >= most else high, holes=holes)


@caching.algebra(4096)
def _natural(form: sympy.Expr) -> tuple[int, int]:
    return natural_bounds(form)


@caching.algebra(4096)
def _text(form: sympy.Expr) -> str:
    """Return a form as text, which spans are sorted by and which takes sympy most of a millisecond."""
    return str(form)
