"""The language of a pattern's body: operators, conditions, tables, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import attncc
from attncc.errors import PatternError, TableError
from attncc.frontend.language import Condition, Index, Table, maximum, minimum, where
from attncc.frontend.real import exp
from attncc.ir.condition import predicate_of
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J

i, j = Index.of(I), Index.of(J)
ROWS, COLS = np.arange(40)[:, None], np.arange(40)[None, :]


def mask(condition: Condition) -> np.ndarray:
    return np.broadcast_to(evaluate_predicate(condition.predicate, {I: ROWS, J: COLS}), (40, 40))


OPERATORS = {
    "add": lambda i, j: i + 3 <= 2 * j,
    "subtract": lambda i, j: 5 - i < j,
    "floor divide": lambda i, j: i // 7 == j // 5,
    "floor divide a negative": lambda i, j: (i - j) // 4 == -2,
    "modulo": lambda i, j: (i - j) % 6 == 2,
    "modulo of a negative": lambda i, j: (3 - i) % 5 > j % 3,
    "negate": lambda i, j: -i < -j,
    "power": lambda i, j: i**2 >= 3 * j,
    "not equal": lambda i, j: i != j,
    "reflected": lambda i, j: (3 + i < 100 - j) & (3 * i != 5 + j) & (2 - j <= 7),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_agree_with_integers(name: str) -> None:
    function = OPERATORS[name]
    np.testing.assert_array_equal(mask(function(i, j)), np.broadcast_to(function(ROWS, COLS), (40, 40)))


def test_abs_minimum_maximum_and_where_agree_with_numpy() -> None:
    np.testing.assert_array_equal(mask(abs(i - j) < 4), abs(ROWS - COLS) < 4)
    np.testing.assert_array_equal(mask(minimum(i, 20) >= j), np.minimum(ROWS, 20) >= COLS)
    np.testing.assert_array_equal(mask(maximum(i, 2 * j) < 30), np.maximum(ROWS, 2 * COLS) < 30)
    chosen = where(i % 2 == 0, j, i - j)
    np.testing.assert_array_equal(mask(chosen > 5), np.where(ROWS % 2 == 0, COLS, ROWS - COLS) > 5)
    np.testing.assert_array_equal(mask(where(i < 9, j < 3, j > 8)), np.where(ROWS < 9, COLS < 3, COLS > 8))


def test_connectives_agree_with_numpy() -> None:
    a, b = i < 9, j % 2 == 0
    left, right = ROWS < 9, COLS % 2 == 0
    np.testing.assert_array_equal(mask(a ^ b), left ^ right)
    np.testing.assert_array_equal(mask(a == b), left == right)
    np.testing.assert_array_equal(mask(~(a & b) | False), ~(left & right))
    np.testing.assert_array_equal(mask(True & a), np.broadcast_to(left, (40, 40)))
    np.testing.assert_array_equal(mask((np.array([0, 1])[1] > 0) & a), np.broadcast_to(left, (40, 40)))


def test_tables_agree_with_numpy_indexing() -> None:
    data = np.random.default_rng(0).integers(0, 4, 40)
    ids = Table(data)
    np.testing.assert_array_equal(mask(ids[i] == ids[j]), data[:, None] == data[None, :])
    blocks = np.random.default_rng(1).random((5, 5)) < 0.5
    np.testing.assert_array_equal(mask(Table(blocks)[i // 8, j // 8]), blocks[ROWS // 8, COLS // 8])


FLAGS = np.random.default_rng(2).random(40) < 0.5

AS_NUMBERS = {
    "twice": lambda m, i, j: 2 * m[j] + m[i] >= 2,
    "equal to 1": lambda m, i, j: m[j] == 1,
    "not 1": lambda m, i, j: m[j] != 1,
    "less": lambda m, i, j: m[i] < m[j],
    "with a position": lambda m, i, j: i - j == m[j],
    "from 1": lambda m, i, j: 1 - m[j] == 0,
    "an index": lambda m, i, j: m[m[i] + j % 8] == 0,
    "halves": lambda m, i, j: m[j] / 2 < 0.25,
    "beside conditions": lambda m, i, j: (m[j] | (j <= i)) & (m[i] == (j < 9)),
    "the opposite": lambda m, i, j: ~(m[j] == True),  # noqa: E712
    "chosen": lambda m, i, j: (m[j] != 0) ^ m[i],
}


@pytest.mark.parametrize("name", AS_NUMBERS)
def test_boolean_entries_serve_as_conditions_and_numbers(name: str) -> None:
    class Numbers:
        """As in numpy: numbers in arithmetic, booleans among conditions."""

        def __getitem__(self, index):
            return FLAGS[index] if name in ("beside conditions", "the opposite", "chosen") else FLAGS.astype(int)[index]

    found, wanted = (AS_NUMBERS[name](*given) for given in ((Table(FLAGS), i, j), (Numbers(), ROWS, COLS)))
    np.testing.assert_array_equal(mask(found), np.broadcast_to(wanted, (40, 40)))


def test_numpy_integers_work_on_either_side() -> None:
    np.testing.assert_array_equal(mask(np.int64(3) + i <= j), ROWS + 3 <= COLS)
    assert isinstance(i * np.int32(2), Index)


@pytest.mark.parametrize(
    ("write", "rule"),
    [
        (lambda: (i < j) and (j < 3), "stand for all positions"),
        (lambda: (i < j) or (j < 3), "stand for all positions"),
        (lambda: 0 <= i - j < 4, "stand for all positions"),
        (lambda: not (i < j), "stand for all positions"),
        (lambda: 3 if i < j else 4, "stand for all positions"),
        (lambda: i / 2 // 1, "index expressions, which are integers"),
        (lambda: i + 0.5 & 1, "index expressions, which are integers"),
        (lambda: i <= math.inf, "numbers below infinity"),
        (lambda: i <= 0.12345678901, "nine digits"),
        (lambda: i << -1, "by 0 to 62 bits"),
        (lambda: i >> 63, "by 0 to 62 bits"),
        (lambda: i & 2.0, "made of positions, integers and tables"),
        (lambda: i & (j < 3), "joined with"),
        (lambda: where(exp(i) < 3, i, j) <= 3, "exact"),
        (lambda: i % 0, "Divisors and moduli are positive"),
        (lambda: i // -2, "Divisors and moduli are positive"),
        (lambda: i**-5, "Powers are integers from 0 to 4"),
        (lambda: i + (i < j), "joined with"),
        (lambda: (i < j) & i, "join comparisons"),
        (lambda: (i < j) & 1, "join comparisons"),
        (lambda: [1, 2, 3][i], "all positions at once"),
        (lambda: int(i), "all positions at once"),
        (lambda: Table([1, 2])[i, j, i], "address the last dimensions"),
        (lambda: i + "3", "made of positions, integers and tables"),
    ],
)
def test_refusals_state_the_rule(write, rule: str) -> None:
    with pytest.raises(PatternError, match=rule):
        predicate_of(write())


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ([0.5, 1.0], "integers or booleans"),
        ([], "at least one element"),
        (np.zeros((1, 1, 1, 1, 1), int), "one to four dimensions"),
        (["a"], "integers or booleans"),
        (np.array([2**64 - 1], np.uint64), "64-bit signed"),
        ([[1], [2, 3]], "can't be read as a table"),
    ],
)
def test_invalid_tables_state_the_rule(data, rule: str) -> None:
    with pytest.raises(TableError, match=rule):
        Table(data, "ids")


def test_equal_tables_give_equal_keys() -> None:
    first = attncc.load("document", ids=[0, 0, 1])
    second = attncc.load("document", ids=np.array([0, 0, 1], np.int32))
    assert first.key == second.key
    assert first.key != attncc.load("document", ids=[0, 1, 1]).key


def test_too_many_cases_of_where_are_refused() -> None:
    def nested(depth: int):
        return i if depth == 0 else where(j % (depth + 2) == 0, nested(depth - 1) + depth, nested(depth - 1) * 2)

    with pytest.raises(PatternError, match="Put the choices into a table"):
        nested(9)
