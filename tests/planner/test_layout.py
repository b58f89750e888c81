"""Layouts hold each connected pair of a clause once, in any order."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.planner import layout as module
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.layout import Layout, lay_out
from attncc.planner.relation import relate
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise

SHAPES = [Shape(60, 60), Shape(37, 64, 27), Shape(50, 23, 8), Shape(1, 70, 69)]
LONGEST = 128


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


@attncc.pattern
def marked(i, j, *, marks: attncc.Table):
    return (marks[j] == 1) & (marks[i] == 0) & (i - j < 30)


@attncc.pattern
def bounded(i, j, *, ends: attncc.Table):
    return (ends[i] >= j) & (j % 3 == i % 3)


@attncc.pattern
def products(i, j):
    return ((i * j) % 5 == 2) & ((i + j) % 4 == 1)


@attncc.pattern
def scattered_values(i, j, *, keys: attncc.Table, ids: attncc.Table):
    """A band on values far apart, inside the classes of a join."""
    return (ids[i] == ids[j]) & (keys[j] <= 50 * i)


@attncc.pattern
def late(i, j):
    """For early queries the first key of a class comes after the last one."""
    return (j >= 20) & (j <= i) & ((i - j) % 5 == 0)


RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(0, 5, LONGEST)
PATTERNS = [
    attncc.load("causal"),
    attncc.load("strided", l=7),
    attncc.load("fixed", l=8, c=3),
    attncc.load("dilated_window", window=5, dilation=3),
    alike(ids=IDS),
    alike(ids=np.arange(LONGEST) // 9),
    marked(marks=IDS % 2),
    bounded(ends=RANDOM.integers(0, LONGEST, LONGEST)),
    products(),
    late(),
    scattered_values(keys=np.sort(RANDOM.integers(0, 3000, LONGEST)), ids=IDS),
]


def pairs_of(layout: Layout, shape: Shape) -> np.ndarray:
    """How often each pair of positions stands in a layout, int (q_len, kv_len)."""
    rows, cols = layout.rows.places, layout.cols.places
    found = np.zeros((shape.q_len, shape.kv_len), int)
    start, stop = layout.key_ranges.at(np.arange(len(rows)))
    for row, first, last in zip(rows, start, stop, strict=True):
        np.add.at(found, (row, cols[first:last]), 1)
    if layout.residual is not None:
        found = found * evaluate_predicate(layout.residual, grid(shape))
    return found


def grid(shape: Shape) -> dict:
    return {I: np.arange(shape.q_len)[:, None] + shape.q_offset, J: np.arange(shape.kv_len)[None, :]}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_layouts_hold_each_pair_of_their_clause_once(pattern: attncc.Pattern, shape: Shape) -> None:
    for clause in disjoint_clauses(pattern.predicate):
        relation = relate(clause, shape.kv_len)
        expected = np.broadcast_to(evaluate_predicate(clause.predicate(), grid(shape)), (shape.q_len, shape.kv_len))
        for each in (relation, relation.in_natural_order(clause)):
            layout = lay_out(each, shape)
            np.testing.assert_array_equal(pairs_of(layout, shape), expected)
            check_key_ranges(layout)


def check_key_ranges(layout: Layout) -> None:
    """Check that edges are ordered slots, and rise where the key ranges are monotone, which bounds blocks of rows."""
    start, stop = layout.key_ranges.bounds()
    assert np.all((start >= 0) & (start <= stop) & (stop <= layout.cols.size))
    if layout.key_ranges.monotone:
        assert np.all(np.diff(start) >= 0)
        assert np.all(np.diff(stop) >= 0)


@attncc.pattern
def turned(i, j, n_k):
    """Bands that fall as i rises."""
    return (j <= n_k - i) & ((i + j) % 3 == 0)


def test_bands_that_fall_do_not_rise() -> None:
    for shape in SHAPES[:3]:
        predicate = specialise(turned().predicate, shape, 0, 0)
        for clause in disjoint_clauses(predicate):
            relation = relate(clause, shape.kv_len)
            for each in (relation, relation.in_natural_order(clause)):
                layout = lay_out(each, shape)
                check_key_ranges(layout)
                expected = evaluate_predicate(clause.predicate(), grid(shape))
                np.testing.assert_array_equal(pairs_of(layout, shape), expected)


def test_layouts_reorder_only_where_needed() -> None:
    kinds = {}
    for pattern in PATTERNS:
        made = [lay_out(relate(clause, 60), SHAPES[0]) for clause in disjoint_clauses(pattern.predicate)]
        kinds.setdefault(pattern.name, [each.kind for each in made])
    assert kinds["causal"] == ["identity"]
    assert kinds["strided"] == ["identity", "sorted"]
    assert kinds["fixed"][0] == "sorted" or "compacted" in kinds["fixed"]
    assert kinds["alike"] == ["sorted"]
    assert kinds["marked"] == ["compacted"]


def test_sorting_keeps_the_order_within_classes() -> None:
    [clause] = disjoint_clauses(alike(ids=IDS).predicate)
    layout = lay_out(relate(clause, 60), SHAPES[0])
    for axis in (layout.rows, layout.cols):
        for number in np.unique(IDS[:60]):
            members = axis.places[IDS[axis.places] == number]
            np.testing.assert_array_equal(members, np.flatnonzero(IDS[:60] == number))


@pytest.mark.parametrize("most", [1, 1 << 40])
def test_searches_by_rank_and_by_value_agree(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to search inside classes give the same key ranges."""
    monkeypatch.setattr(module, "CLASSES", most)
    shape, pattern = SHAPES[0], PATTERNS[-1]
    [clause] = disjoint_clauses(pattern.predicate)
    expected = evaluate_predicate(clause.predicate(), grid(shape))
    np.testing.assert_array_equal(pairs_of(lay_out(relate(clause, shape.kv_len), shape), shape), expected)
