"""Real numbers of a score: Python's arithmetic, and undecidable operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

import attncc
from attncc.errors import PatternError
from attncc.frontend.language import Index
from attncc.frontend.real import (
    MAX_POWER,
    Real,
    chosen,
    cos,
    erf,
    exp,
    is_real,
    larger,
    log,
    real_of,
    sin,
    smaller,
    sqrt,
    tanh,
)
from attncc.ir.functions import Choice, ConditionSymbol
from attncc.ir.symbols import SCORE, I, J

score, i, j = Real(SCORE), Index.of(I), Index.of(J)
FORMULAS: dict[str, Callable] = {
    "sums": lambda x, m: 1.5 + x - 2 + x,
    "from the left": lambda x, m: 3 - x - (0.5 - x) * 4,
    "quotients": lambda x, m: 2 / (x * x + 1) + x / 4 + 1 / 3,
    "powers": lambda x, m: x**3 - (x * x + 2) ** -2 + x**0,
    "powers of a number": lambda x, m: 2**x + 0.5**x,
    "signs": lambda x, m: -x + +x - abs(-x),
    "functions": lambda x, m: m.tanh(x / 3) * 3 + m.exp(-x) + m.log(x * x + 1) + m.sqrt(x * x),
    "waves": lambda x, m: m.sin(2 * x) - m.cos(x / 3) * m.erf(x) + m.sin(1) + m.erf(0.5),
    "numbers of numpy": lambda x, m: np.float32(0.5) * x + np.int64(3) - np.float64(1) / (x * x + 1),
}


class Functions:
    """attncc's functions, under the names that math has."""

    tanh, exp, log, sqrt = staticmethod(tanh), staticmethod(exp), staticmethod(log), staticmethod(sqrt)
    sin, cos, erf = staticmethod(sin), staticmethod(cos), staticmethod(erf)


@pytest.mark.parametrize("name", FORMULAS)
def test_arithmetic_agrees_with_python_numbers(name: str) -> None:
    made = FORMULAS[name](score, Functions)
    assert isinstance(made, Real)
    for x in (-1.7, 0.3, 2.0):
        assert float(made.expr.subs(SCORE, sympy.Float(x))) == pytest.approx(float(FORMULAS[name](x, math)))


def test_smaller_and_larger_agree_with_min_and_max() -> None:
    for x in (-2.0, 0.25, 4.0):
        at = {SCORE: sympy.Float(x)}
        assert float(smaller(score, 1).expr.subs(at)) == min(x, 1)
        assert float(larger(0.5, score).expr.subs(at)) == max(x, 0.5)


def test_the_first_true_guard_selects() -> None:
    first, second = (i < 3).predicate, (j < 5).predicate
    found = chosen([(first, SCORE), (second, 2 * SCORE), (first, 3 * SCORE)])
    assert found == Choice(ConditionSymbol(first), SCORE, Choice(ConditionSymbol(second), 2 * SCORE, 3 * SCORE))
    assert chosen([(second, SCORE)]) == SCORE  # the last guard is taken to hold


@pytest.mark.parametrize(
    ("value", "expr"),
    [
        (3, 3),
        (2.0, 2),
        (0.5, 0.5),
        (np.int32(-4), -4),
        (np.float32(0.25), 0.25),
        (Fraction(1, 4), sympy.Rational(1, 4)),
        (-math.inf, sympy.S.NegativeInfinity),
        (score, SCORE),
    ],
    ids=repr,
)
def test_numbers_are_converted_exactly(value: object, expr: object) -> None:
    assert real_of(value) == expr


def test_the_largest_powers_are_kept() -> None:
    assert (score**MAX_POWER).expr == SCORE**MAX_POWER
    assert (score**-MAX_POWER).expr == SCORE**-MAX_POWER


def test_whole_numbers_become_integers_and_cancel() -> None:
    assert (score + 2.0 - 2).expr == SCORE
    assert (score * 1.0).expr == SCORE


@pytest.mark.parametrize(
    "value", [True, math.inf, math.nan, "1", None, 1j, Decimal(1), torch.tensor(1.0), np.ones(2)], ids=repr
)
def test_values_that_are_not_numbers_are_refused_by_type(value: object) -> None:
    with pytest.raises(PatternError, match="was used in a score") as refused:
        real_of(value)
    assert type(value).__name__ in refused.value.problem
    assert "attncc.Weights" in refused.value.fix


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda: score / 0, "divided by 0"),
        (lambda: 1 / (score - score), "divided by 0"),
        (lambda: score**0.5, "power 0.5"),
        (lambda: score ** (MAX_POWER + 1), f"power {MAX_POWER + 1}"),
        (lambda: score**True, "power True"),
        (lambda: (-2) ** score, "base of a power is -2"),
        (lambda: 0**score, "base of a power is 0"),
        (lambda: score**score, "power"),
        (lambda: 3 // score, "divided with"),
        (lambda: score % 2, "divided with"),
        (lambda: score & 2, "used in `&`"),
        (lambda: 1 << score, "shifted"),
        (lambda: float(score), "Python needs one number"),
        (lambda: math.exp(score), "Python needs one number"),
        (lambda: range(score), "Python needs one number"),
        (lambda: bool(score), "True or False"),
        (lambda: max(score, 1), "True or False"),
        (lambda: attncc.where(score, 1, 2), "."),
    ],
)
def test_refusals_state_value_rule_and_fix(write: Callable[[], object], says: str) -> None:
    with pytest.raises(PatternError, match=says) as refused:
        write()
    assert refused.value.rule
    assert refused.value.fix


def test_fractions_and_floats_are_real() -> None:
    assert [is_real(x) for x in (score, 0.5, np.float32(2), Fraction(1, 2))] == [True] * 4
    assert [is_real(x) for x in (i, 3, np.int64(3), True, "x", None)] == [False] * 6
