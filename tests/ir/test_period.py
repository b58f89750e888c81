"""Periods: known ones, and random expressions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncc.errors import PatternError
from attncc.frontend.language import Index, Table, maximum, minimum
from attncc.ir.evaluate import evaluate
from attncc.ir.period import common_period, period
from attncc.ir.symbols import NK, I, J

i, j, n_k = Index.of(I), Index.of(J), Index.of(NK)
table = Table(np.random.default_rng(0).integers(0, 9, 50))


def expr_of(index: Index):
    ((_, expr),) = index.cases
    return expr


KNOWN = {
    "residue": (i % 8, (1, 0), 8),
    "other symbol": (i % 8, (0, 1), 1),
    "every other": (i % 8, (2, 0), 4),
    "multiple": ((3 * i + j) % 6, (1, 0), 2),
    "product": (i * j % 64, (1, 0), 64),
    "multiple of a product": ((4 * i * j + j) % 8, (1, 0), 2),
    "product along the diagonal": (i * j % 4, (1, 1), 4),
    "square": ((i**2 + j) % 97, (1, 0), 97),
    "residue of a quotient": (i // 64 % 2, (1, 0), 128),
    "quotient of a quotient": ((i // 4 + 1) // 4 % 2, (1, 0), 32),
    "quotient of a residue": (i % 12 // 5, (1, 0), 12),
    "product with a quotient": (j * (i // 2) % 4, (1, 0), 8),
    "residue of a quotient of a product": (i * j // 4 % 2, (1, 0), 8),
    "residue, written out": (i - i // 8 * 8, (1, 0), 8),
    "table": (table[i % 5] + table[j % 3], (1, 0), 5),
    "anti-diagonal": ((i + j) % 10, (1, -1), 1),
    "gap": (maximum(i, j) - i, (1, 1), 1),
    "gap's absolute value": (abs(i - j) % 7, (1, 1), 1),
    "blocks": (i // 3 - j // 3, (1, 1), 3),
    "least residue": (minimum(i % 3, j % 5), (1, 1), 15),
    "shear": ((7 * i + 5 * j) % 1000, (1, -401), 1000 // 2),
    "position": (i, (1, 0), None),
    "quotient": (i // 3 + i % 3, (1, 0), None),
    "product of a residue": (i * (j % 2), (1, 0), None),
    "absolute value": (abs(i - j) % 7, (1, 0), None),
    "greatest": (maximum(i, j) % 7, (1, 0), None),
    "table of positions": (table[i] % 2, (1, 0), None),
    "modulus of the length": (i % (n_k + 1), (1, 0), None),
}


@pytest.mark.parametrize("name", KNOWN)
def test_periods_equal_known_ones(name: str) -> None:
    index, (of_i, of_j), expected = KNOWN[name]
    assert period(expr_of(index), frozenset([(I, of_i), (J, of_j)])) == expected


def test_periods_of_a_predicate_are_common_multiples() -> None:
    along = frozenset([(I, 1)])
    assert common_period(((i % 4 == 1) ^ (i * j % 6 < 2)).predicate, along) == 12
    assert common_period(((i % 4 == 1) | (i > j)).predicate, along) is None


@st.composite
def indices(draw: st.DrawFn, depth: int = 4):
    """Draw an index expression of i and j."""
    if not depth:
        return draw(st.sampled_from([i, j, i - j, i + j, 2 * i + 3 * j]))
    a, b = draw(indices(depth - 1)), draw(indices(draw(st.integers(0, depth - 1))))
    number = draw(st.integers(1, 12))
    try:
        return draw(
            st.sampled_from(
                [
                    lambda: a % number,
                    lambda: a // number,
                    lambda: a - number * b,
                    lambda: a % number * b,
                    lambda: a % number + b % number,
                    lambda: (a + b * b) % number,
                    lambda: a * b % number,
                    lambda: a * b // number % 6,
                    lambda: minimum(a, b) - a,
                    lambda: abs(a - b) % number,
                    lambda: table[a % 50],
                ]
            )
        )()
    except PatternError:  # too large
        return a


@given(indices(), st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 2**32))
def test_expressions_repeat_after_their_period(index: Index, of_i: int, of_j: int, seed: int) -> None:
    expr = expr_of(index)
    turn = period(expr, frozenset([(I, of_i), (J, of_j)]))
    if turn is None or turn > 1 << 20:
        return
    query, key = np.random.default_rng(seed).integers(-300, 300, (2, 200))
    there = {I: query + of_i * turn, J: key + of_j * turn}
    np.testing.assert_array_equal(evaluate(expr, {I: query, J: key}), evaluate(expr, there))
