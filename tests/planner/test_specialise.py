"""Specialisation substitutes a head's numbers into the pattern, which leaves i and j only."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.predicate import FALSE, TRUE
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise

SHAPE = Shape(20, 25, 5, heads=3, batch=2)
ROWS, COLS = np.arange(20)[:, None] + 5, np.arange(25)[None, :]


@attncc.pattern
def widths(i, j, h, b):
    return (j <= i) & (i - j < 2**3 + 3 * h) & ((i - j) % (b + 2) == 0)


@attncc.pattern
def ends(i, j, n_q, n_k):
    return (j >= n_k - n_q // 4) | (i < n_q // 2)


@attncc.pattern
def tables(i, j, h, b, *, near: attncc.Table, ids: attncc.Table):
    return (i - j < near[h]) & (ids[b, h, i // 5] == ids[b, h, j // 5]) & (i - j > -4)


@attncc.pattern
def guarded(i, j, h, *, near: attncc.Table):
    """A look-up that leaves the table for the last heads, which the rest of the predicate leaves out."""
    return (h < 2) & (i - j < near[h])


@attncc.pattern
def columns(i, j, h, *, near: attncc.Table):
    """A head that is the second index: only leading ones can be sliced off."""
    return (j <= i) & (i - j < near[i % 4, h])


NUMBERS = np.random.default_rng(0).integers(0, 3, (2, 3, 5))
PATTERNS = [
    widths(),
    ends(),
    tables(near=[3, 9, 30], ids=NUMBERS),
    guarded(near=[4, 8]),
    columns(near=NUMBERS[:, :, :3].reshape(-1, 3)[:4] * 5),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_specialised_predicates_agree_with_the_pattern(pattern: attncc.Pattern) -> None:
    for b, h in np.ndindex(SHAPE.batch, SHAPE.heads):
        found = specialise(pattern.predicate, SHAPE, b, h)
        assert found.free <= {I, J}
        lengths = {NQ: SHAPE.q_len, NK: SHAPE.kv_len}
        expected = evaluate_predicate(pattern.predicate, {I: ROWS, J: COLS, B: b, H: h, **lengths})
        mask = np.broadcast_to(evaluate_predicate(found, {I: ROWS, J: COLS}), (20, 25))
        np.testing.assert_array_equal(mask, np.broadcast_to(expected, (20, 25)))


def test_predicates_of_positions_alone_are_unchanged() -> None:
    predicate = attncc.load("strided", l=4).predicate
    assert specialise(predicate, SHAPE, 1, 2) is predicate


def test_empty_and_full_heads_become_constants() -> None:
    @attncc.pattern
    def by_head(i, j, h):
        return h >= 1

    decided = [specialise(by_head().predicate, SHAPE, 0, h) for h in range(2)]
    assert decided == [FALSE, TRUE]


def test_heads_with_equal_slices_share_a_predicate() -> None:
    rows = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
    pattern = attncc.load("causal") & _same(ids=rows)
    found = [specialise(pattern.predicate, Shape(4, 4, heads=3), 0, h) for h in range(3)]
    masks = [evaluate_predicate(each, {I: np.arange(4)[:, None], J: np.arange(4)[None, :]}) for each in found]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert found[0] == found[1]
    assert found[0] != found[2]


@attncc.pattern
def _same(i, j, h, *, ids: attncc.Table):
    return ids[h, i] == ids[h, j]
