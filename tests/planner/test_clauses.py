"""Disjoint clauses partition the predicate, and have bands where holes allow them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.frontend.language import Condition, Index
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.predicate import TRUE
from attncc.ir.symbols import I, J
from attncc.planner import clauses as module
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.relation import relate

N = 40
ROWS, COLS = np.arange(N)[:, None], np.arange(N)[None, :]
i, j = Index.of(I), Index.of(J)
COMPARISONS = [
    j <= i,
    i - j < 9,
    i - j == 5,
    i - j != 3,
    (i - j) % 4 == 1,
    i // 6 == j // 6,
    j // 6 < i // 6,
    j % 5 != 2,
    i < 21,
    j >= 30,
    (i + 2 * j) % 3 == 0,
    i * j < 200,
]


def mask_of(condition: Condition | Clause) -> np.ndarray:
    predicate = condition.predicate() if isinstance(condition, Clause) else condition.predicate
    return np.broadcast_to(evaluate_predicate(predicate, {I: ROWS, J: COLS}), (N, N))


def check_partition(condition: Condition, pieces: Sequence[Clause]) -> None:
    owners = sum((mask_of(piece).astype(int) for piece in pieces), np.zeros((N, N), int))
    np.testing.assert_array_equal(owners, mask_of(condition))


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> Condition:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(COMPARISONS))
    one, other = draw(conditions(depth - 1)), draw(conditions(depth - 1))
    return draw(st.sampled_from([one & other, one | other, one & ~other]))


@given(conditions())
@settings(max_examples=60)
def test_clauses_partition_the_predicate(condition: Condition) -> None:
    check_partition(condition, disjoint_clauses(condition.predicate))


def test_bands_with_holes_are_split() -> None:
    condition = (j <= i) & (i - j < 9) & (i - j != 3) & (i - j != 4)
    pieces = disjoint_clauses(condition.predicate)
    check_partition(condition, pieces)
    relations = [relate(piece, N) for piece in pieces]
    assert len(relations) == 2
    assert all(len(each.bands) == 1 and each.residual == TRUE for each in relations)


def test_remainders_of_a_union_keep_their_join() -> None:
    condition = ((j <= i) & (i - j < 8)) | ((j <= i) & ((i - j) % 8 == 0))
    first, second = (relate(piece, N) for piece in disjoint_clauses(condition.predicate))
    assert not first.joins
    assert len(second.joins) == len(second.bands) == 1


def test_contradictory_clauses_are_dropped() -> None:
    """i < j contradicts i // 6 > j // 6, which neither shows alone."""
    condition = (i < j) & (i // 6 > j // 6)
    assert disjoint_clauses(condition.predicate) == ()


def test_too_many_clauses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLAUSES", 2)
    condition = (j <= i) & (i - j < 30) & (i - j != 7) & (i - j != 12) & (i - j != 20)
    with pytest.raises(TooManyClausesError, match="more than 2 disjoint clauses"):
        disjoint_clauses(condition.predicate)
