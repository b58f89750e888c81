"""Intervals: bounds hold for every integer of a box, and verdicts are correct."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.interval import ALWAYS, NEVER, SOMETIMES, bounds, natural_bounds, verdict
from attncc.ir.magnitude import magnitude
from attncc.ir.predicate import FALSE, TRUE, Atom, conjunction, disjunction
from attncc.ir.quotient import FloorDiv
from attncc.ir.symbols import MAX_POSITION, H, I, J

LEAVES = st.sampled_from([I, J]) | st.integers(-6, 6).map(sympy.Integer)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: sympy.expand(a * b), inner, inner),
        st.builds(sympy.Min, inner, inner),
        st.builds(sympy.Max, inner, inner),
        st.builds(sympy.Abs, inner),
        st.builds(lambda a, m: sympy.Mod(a, m), inner, st.integers(1, 5)),
        st.builds(lambda a, d: sympy.floor(a / d), inner, st.integers(1, 5)),
    ),
    max_leaves=6,
)
ATOMS = st.builds(Atom, st.sampled_from(["ge", "eq", "ne"]), EXPRESSIONS)
RANGES = st.tuples(st.integers(0, 9), st.integers(0, 5)).map(lambda drawn: (drawn[0], sum(drawn)))


def grid(rows: tuple[int, int], cols: tuple[int, int]) -> dict[sympy.Symbol, np.ndarray]:
    """All pairs of a box, as an environment of columns and rows."""
    return {I: np.arange(rows[0], rows[1] + 1)[:, None], J: np.arange(cols[0], cols[1] + 1)[None, :]}


def box(rows: tuple[int, int], cols: tuple[int, int]) -> dict[sympy.Symbol, tuple[np.ndarray, np.ndarray]]:
    return {symbol: tuple(np.array([end]) for end in ends) for symbol, ends in ((I, rows), (J, cols))}


@given(EXPRESSIONS, RANGES, RANGES)
def test_bounds_hold_throughout_a_box(expr: sympy.Expr, rows: tuple[int, int], cols: tuple[int, int]) -> None:
    low, high = bounds(expr, box(rows, cols))
    values = np.asarray(evaluate(expr, grid(rows, cols)))
    assert low[0] <= values.min()
    assert values.max() <= high[0]


@given(EXPRESSIONS, st.integers(0, 9), st.integers(0, 9))
def test_bounds_of_one_pair_equal_its_value(expr: sympy.Expr, i: int, j: int) -> None:
    low, high = bounds(expr, box((i, i), (j, j)))
    assert low[0] == high[0] == evaluate(expr, {I: i, J: j})


@given(st.lists(ATOMS, min_size=1, max_size=3), st.booleans(), RANGES, RANGES)
def test_verdicts_agree_with_enumeration(
    atoms: list[Atom], every: bool, rows: tuple[int, int], cols: tuple[int, int]
) -> None:
    predicate = conjunction(atoms) if every else disjunction(atoms)
    holds = np.asarray(evaluate_predicate(predicate, grid(rows, cols)))
    answer = verdict(predicate, box(rows, cols))[0]
    assert answer != ALWAYS or holds.all()
    assert answer != NEVER or not holds.any()


@given(EXPRESSIONS, st.integers(0, 9), st.integers(0, 9))
def test_magnitudes_bound_every_value(expr: sympy.Expr, i: int, j: int) -> None:
    most = magnitude(expr, {I: 9, J: 9})
    for part in filter(lambda part: part.is_integer, sympy.preorder_traversal(expr)):
        assert abs(evaluate(part, {I: i, J: j})) <= most


def test_multiples_of_quotients_are_bounded_by_what_is_divided() -> None:
    most = 1 << 61
    for expr in (8 * sympy.floor((I - J) / 8), 8 * FloorDiv(I - J, sympy.Integer(8)), 8 * sympy.Mod(I + J, 8) - I):
        assert 2 * most <= magnitude(expr, {I: most, J: most}) < 2 * most + 65
    assert magnitude(sympy.floor(8 * I / 3), {I: most}) == 8 * most
    assert magnitude(8 * FloorDiv(I, J), {I: most, J: 9}) == 8 * most


def test_verdicts_are_vectorised_over_boxes() -> None:
    causal = Atom("ge", I - J)
    ends = {I: (np.array([0, 4, 9]), np.array([3, 7, 12])), J: (np.array([4, 4, 0]), np.array([7, 7, 9]))}
    assert verdict(causal, ends).tolist() == [NEVER, SOMETIMES, ALWAYS]
    assert [verdict(constant, ends).tolist() for constant in (TRUE, FALSE)] == [[ALWAYS] * 3, [NEVER] * 3]


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        (I, (1 - MAX_POSITION, MAX_POSITION - 1)),
        (H - J, (1 - MAX_POSITION, MAX_POSITION - 1)),
        (sympy.expand(H * J), (0, (MAX_POSITION - 1) ** 2)),
        (sympy.Mod(I, 7), (0, 6)),
        (sympy.Integer(-3), (-3, -3)),
    ],
    ids=str,
)
def test_bounds_over_all_positions_are_exact(expr: sympy.Expr, found: tuple[int, int]) -> None:
    assert natural_bounds(expr) == found
