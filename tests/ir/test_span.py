"""Operations on spans agree with sets of integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attncc.ir.span import MAX_HOLES, Span, tidy, union
from attncc.ir.symbols import I, J

VALUES = range(-15, 16)
ENDS = st.none() | st.integers(-10, 10)
SPANS = st.builds(
    lambda low, high, holes: tidy(Span(I - J, low, high, frozenset(holes))), ENDS, ENDS, st.sets(st.integers(-11, 11))
)


def members(*spans: Span) -> list[int]:
    """Return which of VALUES are in the spans, as often as they are."""
    return sorted(value for span in spans for value in VALUES if not span.is_empty and not span.leaves_out(value))


@given(SPANS, SPANS)
def test_meets_agree_with_sets(a: Span, b: Span) -> None:
    assert set(members(a.meet(b))) == set(members(a)) & set(members(b))
    assert not a.within(b) or set(members(a)) <= set(members(b))


@given(SPANS.filter(lambda span: not span.is_empty))
def test_complements_agree_with_sets(span: Span) -> None:
    assert members(span, *span.complement()) == list(VALUES)


@given(SPANS.filter(lambda span: not span.is_empty))
def test_intervals_agree_with_sets(span: Span) -> None:
    parts = span.intervals()
    assert members(*parts) == members(span)
    assert not any(part.holes for part in parts)


@given(SPANS, SPANS)
def test_unions_agree_with_sets(a: Span, b: Span) -> None:
    if a.is_empty or b.is_empty:
        return
    joined = union(a, b)
    if joined is not None:
        assert set(members(joined)) == set(members(a)) | set(members(b))


def test_distant_spans_are_not_joined() -> None:
    assert union(Span(I - J, 0, 2), Span(I - J, 4 + MAX_HOLES, None)) is None
    assert union(Span(I - J, 0, 2), Span(I - J, 3 + MAX_HOLES, None)) is not None


def test_natural_bounds_are_dropped() -> None:
    assert tidy(Span(J, low=0)).is_free
    assert not tidy(Span(I, low=0)).is_free  # query positions may be negative
    assert tidy(Span(I % 5, low=0, high=4)).is_free
    assert tidy(Span(I % 5, low=5)).is_empty
