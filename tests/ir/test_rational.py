"""Comparisons of fractions are exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import attncc
from attncc.frontend.language import Index, maximum, minimum, where
from attncc.frontend.real import Real, exp
from attncc.ir.condition import Condition, RealCondition
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import SCORE, I, J

i, j, score = Index.of(I), Index.of(J), Real(SCORE)
LENGTH = 40

WRITTEN = {
    "thirds": lambda i, j, f: i / 3 - j / 3 <= f(2, 3),
    "several denominators": lambda i, j, f: abs(i / 8 - j / 6) < 3,
    "of either sign": lambda i, j, f: (i - j) / 7 >= f(-1, 2) * 3,
    "products": lambda i, j, f: (i / 2) * (j / 3) - f(1, 4) > j,
    "powers": lambda i, j, f: (i / 2) ** 2 <= 3 * j + f(1, 8),
    "equal": lambda i, j, f: i / 2 == j / 3,
    "unequal": lambda i, j, f: (i + 1) / 2 != j,
    "on either side": lambda i, j, f: f(9, 2) <= i,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_comparisons_agree_with_fractions(name: str) -> None:
    write = WRITTEN[name]
    condition = write(i, j, Fraction)
    assert isinstance(condition, Condition)
    found = evaluate_predicate(condition.predicate, {I: np.arange(LENGTH)[:, None], J: np.arange(LENGTH)[None, :]})
    wanted = [[write(Fraction(a), Fraction(b), Fraction) for b in range(LENGTH)] for a in range(LENGTH)]
    np.testing.assert_array_equal(np.broadcast_to(found, (LENGTH, LENGTH)), wanted)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        (i >= 4.5, i >= 5),
        (i < 4.5, i <= 4),
        (i == 4.0, i == 4),
        (i == 4.5, Condition((i < i).predicate)),
        (abs(i / 8 - j / 8) <= 3, abs(i - j) <= 24),
        (i * 0.1 <= 3, i <= 30),  # a tenth, not the floating-point number above it
        (minimum(i / 2, 3.5) > j, minimum(i, 7) > 2 * j),
        (maximum(i, j / 2) >= 5, maximum(2 * i, j) >= 10),
        (where(i < 3, j / 2, j) <= 4, where(i < 3, j <= 8, j <= 4)),
        (i <= 1e300, (i == i)),
    ],
)
def test_comparisons_of_fractions_become_integer_ones(written: Condition, same: Condition) -> None:
    assert attncc.Pattern([written.predicate], "a").key == attncc.Pattern([same.predicate], "b").key


@pytest.mark.parametrize("condition", [score > 0, exp(i / 4) < 3, 1 / (1 + i) < 0.5, (i < j) & (score < 1)])
def test_irrational_comparisons_use_floating_point(condition: Condition) -> None:
    assert isinstance(condition, RealCondition)
