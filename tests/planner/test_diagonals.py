"""Counts by diagonals, compared with dense masks and closed forms, and where they apply."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.frontend.language import Index, Table, maximum
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.planner import diagonals

i, j = Index.of(I), Index.of(J)
table = Table(np.random.default_rng(0).integers(0, 3, 400))


@st.composite
def along(draw: st.DrawFn, depth: int = 3):
    """Draw a condition on i - j."""
    if depth and draw(st.booleans()):
        a, b = draw(along(depth - 1)), draw(along(depth - 1))
        return draw(st.sampled_from([a & b, a | b, a ^ b, ~a]))
    number, modulus = draw(st.integers(-90, 90)), draw(st.integers(1, 40))
    return draw(
        st.sampled_from(
            [
                i - j >= number,
                i == j + number,
                abs(i - j) < abs(number),
                (i - j) % modulus == number % modulus,
                i % modulus != j % modulus,
                (3 * i - 3 * j) % modulus < 2,
                (i - j) // modulus % 2 == 0,
                (i - j) ** 2 > 5 * modulus + i - j,
                (i - j >= 0) & (i - j < 400) & (table[i - j] == 1),
                maximum(i - j, number) % modulus == 0,
            ]
        )
    )


def dense(condition, q_len: int, kv_len: int, q_offset: int) -> int:
    rows, cols = np.arange(q_len)[:, None] + q_offset, np.arange(kv_len)[None, :]
    return int(np.broadcast_to(evaluate_predicate(condition.predicate, {I: rows, J: cols}), (q_len, kv_len)).sum())


SIZES = st.sampled_from([1, 2, 31, 97, 128, 255, 301])


@given(along(), SIZES, SIZES, st.sampled_from([0, 1, 64, 203]), st.sampled_from([2, 16, 1024]))
def test_counts_agree_with_the_dense_mask(condition, q_len: int, kv_len: int, q_offset: int, leaf: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagonals, "LEAF", leaf)
        found = diagonals.count(condition.predicate, q_len, kv_len, q_offset)
    assert found == dense(condition, q_len, kv_len, q_offset)


@given(along(1), SIZES, SIZES, st.integers(0, 260), st.integers(0, 260))
def test_bounds_on_positions_restrict_counts(condition, q_len: int, kv_len: int, row: int, col: int) -> None:
    for cut in ((i >= row) & (j < col), (i < row) & (j > col), (j == col) & (i != 0)):
        found = diagonals.count((condition & cut).predicate, q_len, kv_len, 17)
        assert found is None or found == dense(condition & cut, q_len, kv_len, 17)
    assert diagonals.applies((condition & (i >= row) & (j < col)).predicate)


def test_predicates_beyond_the_gap_are_not_counted() -> None:
    for condition in (i % 3 == 0, i // 3 == j // 3, (i - j < 5) | (j < 4), 2 * i == j, (maximum(i, j) - i) * j <= 5):
        assert not diagonals.applies(condition.predicate)
        assert diagonals.count(condition.predicate, 9, 9, 0) is None


def test_residues_and_windows_have_closed_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagonals, "_looked_at", lambda _, first, *rest: len(first) and pytest.fail("it looked"))
    n, window = 1 << 30, 4096
    band = (i - j >= 0) & (i - j < window)
    assert diagonals.count(band.predicate, n, n, 0) == n * window - window * (window - 1) // 2
    assert diagonals.count((i - j >= 0).predicate, n, n, 0) == n * (n + 1) // 2
    assert diagonals.count((i - j >= -n).predicate, n, 2 * n - 1, n) == n * (2 * n - 1)
    residue = ((i - j) % 7 == 3) & (j <= i)
    steps = (n - 1 - 3) // 7 + 1
    assert diagonals.count(residue.predicate, n, n, 0) == steps * (n - 3) - 7 * steps * (steps - 1) // 2


def test_windows_are_cut_where_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[int] = []
    verdict = diagonals.verdict
    monkeypatch.setattr(diagonals, "verdict", lambda *asked: answers.append(1) or verdict(*asked))
    band = (2 * (i - j) >= 6) & (i - j < 4096) & (i != j + 77)
    assert diagonals.count(band.predicate, 5000, 5000, 0) == sum(5000 - d for d in range(3, 4096) if d != 77)
    assert len(answers) == 1


def test_long_periods_are_counted_without_a_table() -> None:
    n = 1 << 30
    apart = ((i - j) % (n // 8) == 4096) & (j <= i)
    assert diagonals.count(apart.predicate, n, n, 0) == sum(n - d for d in range(4096, n, n // 8))


def test_unions_of_residues_are_counted_without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    @attncc.pattern
    def residues(i, j):
        return ((i - j) % 7 == 3) | ((i - j) % 11 == 5) | ((i - j) % 13 == 1)

    monkeypatch.setattr("attncc.planner.bisect.count", lambda *_: pytest.fail("it looked at pairs"))
    n, found = 1 << 20, attncc.plan(residues(), 1 << 20)
    gap = np.arange(1 - n, n)
    holds = (gap % 7 == 3) | (gap % 11 == 5) | (gap % 13 == 1)
    assert found.nnz == int((n - np.abs(gap))[holds].sum())
