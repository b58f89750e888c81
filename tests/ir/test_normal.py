"""The normal form: clauses, canonical digests, and interval bounds."""

from __future__ import annotations

import subprocess
import sys
from functools import reduce
from operator import and_, or_, xor

import numpy as np
import pytest

import attncc
from attncc.frontend.language import Index, maximum, minimum, where
from attncc.ir.diagonals import depends_on_gap
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.interval import ALWAYS, NEVER, verdict
from attncc.ir.magnitude import magnitude
from attncc.ir.normal import MAX_CLAUSES, MAX_STEPS, TooManyClausesError, clauses, digest
from attncc.ir.notation import condition as written
from attncc.ir.predicate import FALSE, TRUE
from attncc.ir.symbols import H, I, J

i, j, h = Index.of(I), Index.of(J), Index.of(H)


def key(*conditions) -> str:
    return attncc.Pattern([condition.predicate for condition in conditions], "p").key


EQUAL = [
    (i - 4 <= j, j - i >= -4),
    ((i - j) % 6 == 0, (j - i) % 6 == 0),
    ((i - j) % 6 == 0, i % 6 == j % 6),
    (2 * i < 2 * j + 1, i <= j),
    (~(i < j), j <= i),
    ((i < j) | (j < i), i != j),
    ((j <= i) & (i - j < 8), (i - j >= 0) & (i - j <= 7)),
    (~((i < 4) & (j < 4)), (i >= 4) | (j >= 4)),
    ((j <= i) | (j <= i + 3), j <= i + 3),
    ((i - j < 3) | (i - j > 4), (i - j != 3) & (i - j != 4)),
    (where(i < 3, j < 5, j < 5), j < 5),
    (i // 8 == j // 8, j // 8 - i // 8 == 0),
    (h + j >= 0, j >= 0),
]


@pytest.mark.parametrize("pair", EQUAL, ids=lambda pair: written(pair[0].predicate))
def test_equal_sets_have_equal_keys(pair) -> None:
    assert key(pair[0]) == key(pair[1])


def test_distinct_sets_have_distinct_keys() -> None:
    assert len({key(pair[0]) for pair in EQUAL}) >= len(EQUAL) - 2  # two pairs of the list are mod 6, two are j <= i


def test_keys_are_equal_in_every_process() -> None:
    program = "import attncc; print(attncc.load('strided', l=12).key, attncc.load('document', ids=[3, 1, 3]).key)"
    keys = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "77")
    }
    assert len(keys) == 1


def test_contradictions_and_tautologies_are_recognised() -> None:
    assert clauses(((i < 3) & (i > 5)).predicate) == ()
    assert ((i < j) & (i >= j)).predicate == FALSE
    assert ((i < j) | (i >= j)).predicate == TRUE
    assert (j >= 0).predicate == TRUE
    assert (i >= 0).predicate != TRUE  # query positions may be negative
    assert (i % 4 < 4).predicate == TRUE
    assert (3 * i == 3 * j + 1).predicate == FALSE


EXPRESSIONS = [
    i - j,
    (i - j) % 7,
    (3 * i + 2 * j) // 5,
    abs(i - 2 * j),
    minimum(i, j + 3) - maximum(j, 4),
    (i // 4) * (j % 3),
    (i - 9) ** 2 - j,
    ((i + j) % 12) // 5,
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_verdicts_agree_with_enumeration(expression) -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 60, (200, 2))
    high = low + rng.integers(0, 20, (200, 2))
    box = {I: (low[:, 0], high[:, 0]), J: (low[:, 1], high[:, 1])}
    for condition in (expression >= 3, expression == 2, expression != 0):
        answers = verdict(condition.predicate, box)
        for n in range(200):
            rows = np.arange(low[n, 0], high[n, 0] + 1)[:, None]
            cols = np.arange(low[n, 1], high[n, 1] + 1)[None, :]
            holds = np.broadcast_to(evaluate_predicate(condition.predicate, {I: rows, J: cols}), (len(rows), cols.size))
            assert answers[n] != ALWAYS or holds.all()
            assert answers[n] != NEVER or not holds.any()


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_magnitude_bounds_every_value(expression) -> None:
    from attncc.ir.evaluate import evaluate

    [(_, expr)] = expression.cases
    values = np.asarray(evaluate(expr, {I: np.arange(50)[:, None], J: np.arange(70)[None, :]}))
    assert np.abs(values).max() <= magnitude(expr, {I: 49, J: 69})


def test_dependence_on_the_gap_is_recognised() -> None:
    assert depends_on_gap(((i - j) % 3 == 1).predicate)
    assert depends_on_gap(((i - 4 <= j) & (j <= i)).predicate)
    assert depends_on_gap((i % 3 == j % 3).predicate)
    assert not depends_on_gap((i // 3 == j // 3).predicate)
    assert not depends_on_gap((j <= i // 2).predicate)


EXPLODING = {
    "a chain of ^": reduce(xor, [(i * k - j) % (k + 5) < 3 for k in range(2, 14)]),
    "an intersection of unions": reduce(and_, [(i % k == 1) | (j % k == 1) | (i - j < k) for k in range(2, 42)]),
    "a union of intersections": reduce(or_, [(i % k == 1) & (j % k == 1) for k in range(2, 202)]),
    "a union of 500 diagonals": reduce(or_, [i - j == 3 * k for k in range(500)]),
}


@pytest.mark.parametrize("name", EXPLODING)
def test_exploding_expansions_are_abandoned_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    monkeypatch.setattr("attncc.ir.normal._Expansion._step", _counting(steps))
    predicate = EXPLODING[name].predicate & ((i + j) % 1009 != len(name)).predicate  # not one that is kept
    with pytest.raises(TooManyClausesError, match=rf"{MAX_CLAUSES} clauses|{MAX_STEPS:,} steps"):
        clauses(predicate)
    assert sum(steps) < 2 * MAX_STEPS
    assert digest(predicate) == digest(predicate.negated().negated())
    assert len(written(predicate)) < 20_000


def _counting(steps: list[int]):
    from attncc.ir.normal import _Expansion

    plain = _Expansion._step

    def step(self, number: int) -> None:
        steps.append(number)
        plain(self, number)

    return step


def test_unexpanded_predicates_have_equal_keys_in_every_process() -> None:
    program = """
import attncc
@attncc.pattern
def chain(i, j):
    result = j <= i
    for k in range(2, 14):
        result = result ^ ((i * k - j) % (k + 5) < 3)
    return result
print(chain().key)
"""
    keys = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "77")
    }
    assert len(keys) == 1
