"""Periods: layouts from one period of their filters and joins, against layouts that list every position."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy

import attncc
from attncc.planner import cycle, layout, periods
from attncc.planner.relation import relate
from attncc.planner.search import possible_clauses
from attncc.planner.shape import Shape

PERIODIC: dict[str, Callable[[sympy.Expr, sympy.Expr], object]] = {
    "residue": lambda i, j: (i - j) % 7 == 3,
    "window of a residue": lambda i, j: ((i - j) % 4 == 0) & (i - j < 50) & (j <= i),
    "two joins": lambda i, j: (i % 3 == j % 3) & ((i // 3) % 4 == (j // 3) % 4) & (j <= i),
    "joins of blocks": lambda i, j: ((i // 16) % 3 == (j // 16) % 3) & (j <= i),
    "keys without queries": lambda i, j: (i % 6 == j % 10) & (j <= 2 * i),
    "filters": lambda i, j: (i % 3 == 1) & (j % 5 >= 2) & ((i - j) % 2 == 0) & (j // 8 <= i // 8),
    "filter of keys": lambda i, j: (j % 16 >= 12) & (j <= i),
    "falling": lambda i, j: ((i - j) % 9 == 0) & (i + j < 150),
    "longer than the axis": lambda i, j: (i - j) % 1000 == 7,
}
SHAPES = [Shape(100, 100), Shape(1, 90, 89), Shape(37, 111, 61), Shape(60, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PERIODIC)
def test_periodic_layouts_agree_with_listed_ones(name: str, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in possible_clauses(attncc.pattern(PERIODIC[name])().predicate, shape):
        relation = relate(piece, shape.kv_len)
        found = layout.lay_out(relation, shape)
        with monkeypatch.context() as patched:
            patched.setattr(layout, "cycles", lambda *_: None)
            listed = layout.lay_out(relation, shape)
        assert (found.kind, found.rows.kind, found.cols.kind) == (listed.kind, listed.rows.kind, listed.cols.kind)
        assert (found.key_ranges.monotone, found.key_ranges.nnz) == (listed.key_ranges.monotone, listed.key_ranges.nnz)
        for ours, theirs in zip(found.key_ranges.bounds(), listed.key_ranges.bounds(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(found.rows.places, listed.rows.places)
        np.testing.assert_array_equal(found.cols.places, listed.cols.places)


def test_aperiodic_relations_have_no_cycles() -> None:
    shape = Shape(64, 64)
    squares = attncc.pattern(lambda i, j: (j * j < 99) & (i % 2 == 0))()
    documents = attncc.load("document", ids=np.arange(64) % 5)
    for pattern in (squares, documents):
        (piece,) = possible_clauses(pattern.predicate, shape)
        assert periods.cycles(relate(piece, 64), shape) is None


def test_planning_sorts_only_one_period_of_each_clause(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_entries: list[int] = []

    def counted(*columns: np.ndarray) -> np.ndarray:
        sorted_entries.append(len(columns[0]))
        return np.lexsort(columns[::-1])

    for module in (cycle, layout):
        monkeypatch.setattr(module, "order_by", counted)
    n = 1 << 20
    pattern = attncc.pattern(lambda i, j: ((i - j) % 7 == 3) | ((i - j) % 11 == 3) | ((i - j) % 13 == 3))
    plan = attncc.plan(pattern, n)
    works = [work for way in plan.groups[0].alternatives for work in way.passes]
    assert sum(work.layout.kind == "sorted" for work in works) == 7  # disjoint clauses
    period = 7 * 11 * 13
    assert 0 < sum(sorted_entries) <= 7 * 2 * period
    plan.describe()  # tiles and counts
    axes = [axis for work in works for axis in (work.rows, work.cols)]
    assert all(vars(axis).get("positions") is None for axis in axes)
