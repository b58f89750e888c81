"""Pieces: operations agree with those on arrays, and key ranges in pieces with evaluated ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.ir.symbols import I
from attncc.ir.tables import Read, Runs, TableSymbol
from attncc.planner.key_ranges import in_pieces
from attncc.planner.pieces import Pieces, pieces_of
from attncc.planner.segments import RAMP, segments, segments_of

LENGTH = 40


@st.composite
def functions(draw: st.DrawFn) -> Pieces:
    """Draw a function of 0 .. LENGTH-1 in some pieces."""
    first = np.array(sorted({0, *draw(st.lists(st.integers(1, LENGTH - 1), max_size=5))}))
    base = draw(st.lists(st.integers(-30, 30), min_size=len(first), max_size=len(first)))
    slope = draw(st.lists(st.integers(-2, 2), min_size=len(first), max_size=len(first)))
    return Pieces(LENGTH, first, np.array(base), np.array(slope))


def values(function: Pieces) -> np.ndarray:
    return function.at(np.arange(function.length))


@given(functions(), functions())
def test_extrema_agree_with_those_of_arrays(one: Pieces, other: Pieces) -> None:
    np.testing.assert_array_equal(values(one.larger(other)), np.maximum(values(one), values(other)))
    np.testing.assert_array_equal(values(one.smaller(other)), np.minimum(values(one), values(other)))
    assert one.rises == bool(np.all(np.diff(values(one)) >= 0))


@given(functions(), functions(), st.integers(1, 6))
def test_key_ranges_in_pieces_agree_with_tabulated_ones(start: Pieces, end: Pieces, shortest: int) -> None:
    found = in_pieces(start, end, 25)
    low = np.clip(values(start), 0, 25)
    high = np.maximum(np.clip(values(end), 0, 25), low)
    np.testing.assert_array_equal(found.bounds(), (low, high))
    assert found.nnz == (high - low).sum()
    assert found.pieces is not None
    rows: list[tuple[int, int, int]] = []
    chosen, rest = segments_of(*found.pieces, shortest)
    for kind, first, length, begin, width in zip(
        chosen.kind, chosen.first, chosen.rows, chosen.start, chosen.width, strict=True
    ):
        rows += [(first + r, begin, begin + width + (r if kind == RAMP else 0)) for r in range(length)]
    rows += [(int(r), int(low[r]), int(high[r])) for r in rest if high[r] > low[r]]
    assert sorted(rows) == [(r, low[r], high[r]) for r in range(LENGTH) if high[r] > low[r]]
    assert len(segments(low, high, shortest)[1]) <= LENGTH


@pytest.mark.parametrize(
    ("data", "slope", "first"),
    [([4] * 9 + [2] * 7, 0, [0, 9]), ([*range(8), *range(3, 11)], 1, [0, 8]), ([1, 3, 5, 2, 9, 9, 1, 4], None, None)],
)
def test_runs_are_of_equal_entries_or_consecutive_numbers(data, slope, first) -> None:
    found = Runs.of(np.array(data))
    if slope is None:
        assert found is None
    else:
        assert found is not None
        assert found.slope == slope
        assert found.first.tolist() == first


@attncc.pattern
def bounded(i, j, *, start: attncc.Table, stop: attncc.Table, far: int):
    return (start[i] + i // 64 <= j) & (j < stop[i]) & (i - j < far)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(0, 30), st.integers(1, 70))
def test_limits_by_tables_connect_the_pairs_that_numpy_connects(ends: list[int], offset: int, far: int) -> None:
    start = np.repeat(ends, 20)[:20]
    stop = np.arange(len(start) + offset)[-len(start) :] + 1
    starts, stops = (np.pad(x, (offset, 0)) for x in (start, stop))
    pattern = bounded(start=starts, stop=stops, far=far)
    i, j = np.arange(len(start))[:, None] + offset, np.arange(64)
    wanted = (starts[i] + i // 64 <= j) & (j < stops[i]) & (i - j < far)
    made = attncc.plan(pattern, len(start), 64, q_offset=offset)
    assert made.nnz == wanted.sum()
    found = attncc.dense_mask(pattern, len(start), 64, q_offset=offset).numpy()
    np.testing.assert_array_equal(found, wanted)


def test_expressions_of_tables_are_sums_of_their_pieces() -> None:
    flat, ramp = attncc.Table([3] * 8 + [5] * 8), attncc.Table([*range(8), *range(8)])
    a, b = Read(TableSymbol(flat), I), Read(TableSymbol(ramp), I)
    for expr in (a + 2 * I, a - b, a // 2 + I, 2 * b + 7):
        found = pieces_of(expr, I, 12, 3)
        assert found is not None
        at = np.arange(3, 15)
        wanted = {I: at, a: flat.data[at], b: ramp.data[at]}
        numbers = [int(expr.xreplace({s: int(v[k]) for s, v in wanted.items()})) for k in range(12)]
        assert values(found).tolist() == numbers
    assert pieces_of(b // 2, I, 12, 3) is None
    assert pieces_of(a, I, 20, 0) is None
