"""Checks at known lengths, compared with all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import attncc
from attncc.errors import PatternError, TableError
from attncc.frontend.language import Condition, Index, Table
from attncc.frontend.scores import Score
from attncc.ir.symbols import NK, I, J
from attncc.planner import checks as module
from attncc.planner.bound_checks import check_sizes
from attncc.planner.checks import check, check_score
from attncc.planner.shape import Shape

SHAPE = Shape(9, 12, 4, 3)
ROWS, COLS = np.arange(9)[:, None] + 4, np.arange(12)[None, :]
i, j, n_k = Index.of(I), Index.of(J), Index.of(NK)
HIGH = 1000 * (i**4 * j**4) * (i**4 * j**4)  # below 2^63 for i up to 8, not for i up to 12


def accepted(condition: Condition) -> bool:
    try:
        check(condition.predicate, SHAPE)
    except TableError:
        return False
    return True


@pytest.mark.parametrize(("shift", "size"), [*itertools.product((-2, 0, 3), (4, 7, 11))])
def test_guarded_lookups_are_accepted_exactly_where_they_stay_inside(shift: int, size: int) -> None:
    """The check is exact for every band of i - j around the table."""
    table, gap = Table(np.arange(size) % 3), ROWS - COLS
    for low, high in itertools.combinations(range(-4, 13, 2), 2):
        inside = (low <= gap) & (gap < high)
        index = gap[inside] + shift
        is_inside = bool(np.all((index >= 0) & (index < size)))
        assert accepted((low <= i - j) & (i - j < high) & (table[i - j + shift] != 0)) == is_inside, (low, high)


@pytest.mark.parametrize("block", [1, 3, 4, 9])
def test_a_limit_by_blocks_guards_a_lookup_by_distance(block: int) -> None:
    """i // block * block - memory <= j keeps i - j below block + memory; the check is exact where a block ends."""
    for memory, size in itertools.product(range(4), range(2, 14)):
        inside = (ROWS // block * block - memory <= COLS) & (COLS <= ROWS)
        is_inside = bool(np.all((ROWS - COLS)[inside] < size))
        assert accepted((i // block * block - memory <= j) & (j <= i) & (Table(np.arange(size) % 3)[i - j] != 0)) in (
            is_inside,
            size >= block + memory,
        )


@pytest.mark.parametrize(
    ("guard", "holds"),
    [
        (i < 8, ROWS < 8),
        (j <= i, COLS <= ROWS),
        ((i - j) % 2 == 0, (ROWS - COLS) % 2 == 0),
        ((j < 8) | (i < 7), (COLS < 8) | (ROWS < 7)),
        (abs(i - j) < 3, abs(ROWS - COLS) < 3),
    ],
)
@pytest.mark.parametrize(
    ("index", "values"), [(i, ROWS + 0 * COLS), (j, COLS + 0 * ROWS), (abs(i - j), abs(ROWS - COLS))]
)
def test_lookups_outside_a_table_are_refused(guard: Condition, holds: np.ndarray, index: Index, values) -> None:
    for size in range(2, 14):  # a dimension of 1 is shared
        condition = guard & (Table(np.arange(size) % 2)[index] == 1)
        if accepted(condition):
            assert np.all(values[np.broadcast_to(holds, values.shape)] < size), size
    assert accepted(guard & (Table(np.arange(14) % 2)[index] == 1))


@attncc.pattern
def product(i, j, *, first: attncc.Table):
    return first[i] * first[j] >= i


def test_entries_that_leave_64_bits_are_found_beside_those_that_do_not() -> None:
    for largest in (3, 2**31 - 1, 2**31, 2**40, 2**31):
        table = np.array([largest, 1, -largest])
        if largest < 2**32:
            attncc.plan(product(first=table), 3)
        else:
            with pytest.raises(PatternError, match="64 bits"):
                attncc.plan(product(first=table), 3)


def test_other_parts_of_a_union_guard_a_lookup() -> None:
    table = Table([0, 1, 1, 0, 1])
    assert accepted((j >= 5) | (table[j] == 1))
    assert not accepted((j >= 6) | (table[j] == 1))


def test_a_comparison_whose_own_lookups_stay_inside_guards_a_lookup() -> None:
    shift, table = Table(np.arange(13) % 3), Table([0, 1, 1, 0, 1])
    gap = i + shift[i] - j
    assert accepted((gap >= 0) & (gap < 5) & (table[gap] == 1))
    assert not accepted((gap >= 0) & (gap < 6) & (table[gap] == 1))


def test_comparisons_dont_guard_one_another() -> None:
    table = Table([0, 1, 1, 0, 1])
    assert not accepted((table[i] >= 1) & (table[table[i] + i] == 1))
    assert not accepted((table[i] == i) & (table[j] == j) & (table[table[i]] == table[table[j]]))


def test_checks_of_many_parts_are_conservative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a check refuses more, never less."""
    guarded = (j < 5) & (Table([0, 1, 1, 0, 1])[j] == 1)
    outside = (j < 6) & (Table([0, 1, 1, 0, 1])[j] == 1)
    assert (accepted(guarded), accepted(outside)) == (True, False)
    monkeypatch.setattr(module, "MAX_GUARDED", 0)
    assert (accepted(guarded), accepted(outside)) == (False, False)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (i % (n_k // 13) == 0, r"n_k / 13⌋ can be 0, for n_k up to 12"),
        (i // (n_k // 13 - 1) == 0, "can be -1"),
        (7 * j <= HIGH, "reach .* at these lengths"),
    ],
)
def test_undefined_arithmetic_is_refused(condition: Condition, says: str) -> None:
    with pytest.raises(PatternError, match=says):
        check(condition.predicate, SHAPE)


def test_arithmetic_is_checked_at_the_given_lengths() -> None:
    divided = (i % (n_k // 13) == 0).predicate
    check(divided, Shape(9, 13))
    check(divided, Shape(0, 12))  # no pair is computed
    large = (7 * j <= HIGH).predicate
    with pytest.raises(PatternError, match="reach"):
        check(large, SHAPE)
    check(large, Shape(9, 12))


@pytest.mark.parametrize(("heads", "batch"), [(2, 1), (4, 1), (3, 2)])
def test_tables_must_match_heads_and_batch_entries(heads: int, batch: int) -> None:
    @attncc.pattern
    def by_head(i, j, h, b, *, ids: attncc.Table):
        return ids[b, h, i] == ids[b, h, j]

    pattern = by_head(ids=np.zeros((1, 3, 13), int) + np.arange(13) % 2)
    check_sizes(pattern, SHAPE)  # one batch entry, three heads
    wrong = "3 heads, the tensors have" if heads != 3 else "1 batch entries, the tensors have 2"
    with pytest.raises(TableError, match=wrong):
        check_sizes(pattern, Shape(9, 12, 4, heads, batch))


@attncc.score
def biased(score, i, j, *, table: attncc.Weights, far: int):
    return attncc.where(i - j < far, score + table[i - j], score - 1)


@attncc.score
def otherwise(score, i, j, *, table: attncc.Weights, far: int):
    return attncc.where(i - j >= far, score - 1, score + table[i - j])


@attncc.score
def doubly(score, i, j, *, table: attncc.Weights, far: int):
    return attncc.where(i - j < far, attncc.where(j <= i, score + table[i - j], score), score)


def score_of(factory, size: int, far: int) -> Score:
    return factory(table=torch.zeros(size), far=far)


def test_branches_and_patterns_guard_lookups_of_a_score() -> None:
    causal, everything = attncc.load("causal"), attncc.load("full")
    for size, far in itertools.product(range(1, 14), repeat=2):
        enough = size >= min(far, 13)
        for made, pattern in ((biased, causal), (otherwise, causal), (doubly, everything)):
            expression = score_of(made, size, far).expression
            if enough:
                check_score(expression, pattern, SHAPE)
                continue
            with pytest.raises(TableError, match="Weights 'table'"):
                check_score(expression, pattern, SHAPE)
    with pytest.raises(TableError, match="runs from -"):
        check_score(score_of(biased, 13, 13).expression, everything, SHAPE)


@pytest.mark.parametrize(("q_len", "q_offset"), [(1, 2 - (1 << 31)), (1, (1 << 31) - 2), (3, -1), (5, -5)])
def test_patterns_are_checked_at_both_ends_of_positions(q_len: int, q_offset: int) -> None:
    window = attncc.load("sliding_window", window=4)
    made = attncc.plan(window, q_len, 8, q_offset=q_offset)
    wanted = attncc.dense_mask(window, q_len, 8, q_offset=q_offset)
    assert made.nnz == int(wanted.sum())


def test_products_that_leave_64_bits_are_refused_at_the_length_at_which_they_do() -> None:
    @attncc.pattern
    def large(i, j, *, ids: attncc.Table):
        return ids[i] * j * j < 5

    pattern = large(ids=[1 << 40] * 4096)
    assert attncc.plan(pattern, 64, 2048).nnz == 64
    with pytest.raises(PatternError, match="reach"):
        attncc.plan(pattern, 64, 4096)
