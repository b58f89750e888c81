"""Quotients and remainders by expressions, in every evaluator."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import attncc
from attncc.errors import PatternError
from attncc.ir.evaluate import evaluate
from attncc.ir.interval import bounds
from attncc.ir.notation import expression
from attncc.ir.quotient import FloorDiv, quotient
from attncc.ir.remainder import Mod
from attncc.ir.symbols import NK, I, J
from attncc.testing import check_pattern


def test_substituted_divisors_become_numbers() -> None:
    kept = quotient(I + 3, NK)
    assert isinstance(kept, FloorDiv)
    assert kept.xreplace({NK: sympy.Integer(4)}) == quotient(I + 3, sympy.Integer(4)) == sympy.floor((I + 3) / 4)
    assert Mod(I, NK).xreplace({NK: sympy.Integer(4)}) == Mod(I, 4)


@pytest.mark.parametrize("divisor", [1 + J, 5 - J, sympy.expand((1 + J) * (2 + J)), Mod(J, 3) + 1])
def test_bounds_hold_where_divisors_may_vanish(divisor: sympy.Expr) -> None:
    for dividend in (I, -I, I * (1 + J) - 7):
        for expr in (quotient(dividend, divisor), Mod(dividend, divisor)):
            rows, cols = np.arange(3, 20)[:, None], np.arange(2, 9)[None, :]
            below = np.maximum(np.broadcast_to(evaluate(divisor, {J: cols}), (17, 7)), 1)
            above = evaluate(dividend, {I: rows, J: cols})
            wanted = above // below if isinstance(expr, FloorDiv) else above % below
            np.testing.assert_array_equal(np.broadcast_to(evaluate(expr, {I: rows, J: cols}), (17, 7)), wanted)
            low, high = bounds(expr, {I: (np.array([3]), np.array([19])), J: (np.array([2]), np.array([8]))})
            assert low[0] <= wanted.min()
            assert wanted.max() <= high[0]


def test_compound_divisors_print_in_parentheses() -> None:
    assert expression(quotient(I, 1 + J)) == "⌊i / (j + 1)⌋"
    assert expression(Mod(I + J, 1 + J)) == "(i + j) mod (j + 1)"


@attncc.pattern
def harmonic(i, j):
    """Keys whose share of the query's position is a power of two, in whole numbers."""
    return ((i // (1 + j)) & (i // (1 + j) - 1)) == 0


@attncc.pattern
def backwards(i, j):
    return (i % (70 - j) == 0) | (i // (70 - j) > 3)


def test_divisors_may_depend_on_positions() -> None:
    check_pattern(harmonic, lengths=(1, 65))
    check_pattern(backwards, lengths=(1, 70))
    with pytest.raises(PatternError, match=r"70 − j can be 0, for j up to 70"):
        attncc.plan(backwards, 71)
