"""The language of patterns and scores on every backend, compared with numpy and torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.reference.mask import as_broadcast, dense_mask
from attncc.ir.score import ScoreExpression
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem

BACKENDS = ("reference", "torch", "triton")
LENGTH, HEADS = 40, 2
FLAGS = np.random.default_rng(0).random(LENGTH) < 0.5


@attncc.pattern
def morton(i, j):
    """Bits of i and j that are a step apart."""
    return (((i ^ j) & 0b101101) < 8) & ((i >> 1 | j) % 3 != 1)


@attncc.pattern
def by_position(i, j):
    return (i // (1 + j) <= 2) & (i % (1 + j) < 40)


@attncc.pattern
def shifted(i, j, h):
    return (1 << (i & 3)) + (j >> (h & 1)) <= i


@attncc.pattern
def fractions(i, j):
    return (abs(i / 8 - j / 6) <= 2.5) & (i >= 4.5)


@attncc.pattern
def flagged(i, j, *, flags: attncc.Table):
    return (flags[j] == 1) & (flags[i] * 2 + j % 3 >= 2)


@attncc.pattern
def constant(i, j, h, *, chosen: attncc.Table):
    return ((chosen[0] == 1) & (j <= i)) | ((chosen[2] > 0) & (h % 2 == 0))


@attncc.pattern
def by_a_constant(i, j, *, on: attncc.Table):
    return on[0] & (j <= i)


def positions(q_offset: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    h, i, j = np.ix_(np.arange(HEADS), np.arange(LENGTH) + q_offset, np.arange(LENGTH))
    return h, i, j


PATTERNS: dict[str, tuple[attncc.Pattern, Any]] = {
    "bits": (morton(), lambda h, i, j: (((i ^ j) & 0b101101) < 8) & ((i >> 1 | j) % 3 != 1)),
    "divisors by position": (by_position(), lambda h, i, j: (i // (1 + j) <= 2) & (i % (1 + j) < 40)),
    "shifts by position": (shifted(), lambda h, i, j: (1 << (i & 3)) + (j >> (h & 1)) <= i),
    "fractions": (fractions(), lambda h, i, j: (abs(3 * i - 4 * j) <= 60) & (i >= 5)),
    "flags as numbers": (
        flagged(flags=FLAGS),
        lambda h, i, j: (FLAGS[j] == 1) & (np.where(FLAGS[i], 2, 0) + j % 3 >= 2),
    ),
    "constant look-ups": (constant(chosen=[1, 0, 1]), lambda h, i, j: (j <= i) | (h % 2 == 0)),
    "a constant flag": (by_a_constant(on=[True]), lambda h, i, j: j <= i),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_connect_the_pairs_that_numpy_connects(name: str, backend: str) -> None:
    pattern, wanted = PATTERNS[name]
    mask = as_broadcast(dense_mask(pattern, LENGTH, heads=HEADS), pattern)
    full = (1, HEADS, LENGTH, LENGTH)
    np.testing.assert_array_equal(np.broadcast_to(mask, full), np.broadcast_to(wanted(*positions())[None], full))
    check_attention(pattern, mask, Problem.drawn(LENGTH, LENGTH, heads=HEADS, kv_heads=HEADS), backend=backend)


@attncc.score
def leaky(score):
    return attncc.where(score > 0, score, 0.1 * score)


@attncc.score
def sparse(score, i, j, *, least: attncc.Weights):
    """Pairs below a learned threshold are masked, but for a window."""
    return attncc.where((score < least[0]) & ~(abs(i - j) < 4), -math.inf, score * least[1])


@attncc.score
def by_head(score, h, j, *, least: attncc.Weights):
    """Conditions that are the same for all pairs of a head, and others that aren't."""
    return attncc.where(~((least[h] < 0.5) | (score < 0.25)) | ((least[h] == 1.0) & (j < 9)), 2 * score, score)


@attncc.score
def waves(score, i, j):
    return attncc.sin(score) + attncc.cos(0.3 * (i - j)) * attncc.erf(score)


@attncc.score
def gelu(score):
    return 0.5 * score * (1 + attncc.erf(score / math.sqrt(2)))


@attncc.score
def padded(score, j, *, flags: attncc.Table):
    return score + (1 - flags[j]) * -1e30


@attncc.score
def finite(score, i, j):
    return attncc.where((j <= i) & (score > -math.inf), score, torch.finfo(torch.float32).min)


@attncc.score
def by_flags(score, j, *, flags: attncc.Table):
    return attncc.where(flags[0] | (flags[j] == 1), score + 2 * flags[j], score)


FLAGGED = torch.from_numpy(FLAGS).long()
ROWS, COLS = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)[None, :]
SCORES: dict[str, tuple[attncc.Score, Any]] = {
    "a leaky score": (leaky(), lambda s, w: torch.where(s > 0, s, 0.1 * s)),
    "a learned threshold": (
        sparse(least=torch.tensor([0.2, 1.5], dtype=torch.float64)),
        lambda s, w: torch.where((s < w[0][0]) & ~(abs(ROWS - COLS) < 4), -math.inf, s * w[0][1]),
    ),
    "numbers of a head": (
        by_head(least=torch.tensor([0.75, 0.25], dtype=torch.float64)),
        lambda s, w: torch.where((w[0].view(HEADS, 1, 1) >= 0.5) & (s >= 0.25), 2 * s, s),
    ),
    "waves": (waves(), lambda s, w: torch.sin(s) + torch.cos(0.3 * (ROWS - COLS).to(s.dtype)) * torch.erf(s)),
    "gelu": (gelu(), lambda s, w: torch.nn.functional.gelu(s)),
    "padding by a large number": (padded(flags=FLAGS), lambda s, w: s + (1 - FLAGGED).to(s.dtype) * -1e30),
    "the least number": (
        finite(),
        lambda s, w: torch.where(COLS <= ROWS, s, torch.finfo(torch.float32).min),
    ),
    "flags": (by_flags(flags=FLAGS), lambda s, w: torch.where(FLAGGED[COLS] == 1, s + 2, s)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SCORES)
def test_scores_and_their_gradients_agree_with_torch(name: str, backend: str) -> None:
    score, formula = SCORES[name]
    pattern = attncc.load("causal")
    problem = Problem.drawn(LENGTH, LENGTH, heads=HEADS, kv_heads=HEADS).with_weights(score.tensors)
    check_attention(pattern, dense_mask(pattern, LENGTH), problem, score=score, formula=formula, backend=backend)


def test_a_comparison_with_the_score_makes_it_not_additive() -> None:
    expression = attncc.score(_stepped)().expression
    assert expression.derivative == 1
    assert not expression.is_additive


def _stepped(score):
    return attncc.where(score > 0, score + 1, score)


def test_constant_conditions_fold() -> None:
    assert isinstance(leaky().expression, ScoreExpression)
    assert attncc.score(_decided)().expression == attncc.score(_plain)().expression


def _decided(score):
    return attncc.where((score > 0) | (score == score) | ((score - score) < 1), score, 2 * score)


def _plain(score):
    return score


@attncc.pattern
def around_zero(i, j, *, window: int):
    """Rows below 0 see the first keys; |i|, maximum(i, 0) and residues are those of negative numbers."""
    prefix = (i < 0) & (j < 4)
    return prefix | (abs(abs(i) - j) < window) | (attncc.maximum(i, 3) == j) | ((i % 7 == j % 5) & (i // 16 == -1))


OFFSETS = (-LENGTH, np.int64(-33))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("q_offset", OFFSETS)
def test_queries_may_have_negative_positions(q_offset: int, backend: str) -> None:
    for pattern in (around_zero(window=3), attncc.load("strided", l=8)):
        mask = dense_mask(pattern, LENGTH, LENGTH, q_offset=q_offset)
        made = attncc.plan(pattern, LENGTH, LENGTH, q_offset=q_offset)
        assert made.nnz == mask.sum()
        problem = Problem.drawn(LENGTH, LENGTH, heads=HEADS, kv_heads=HEADS)
        check_attention(pattern, mask, problem, q_offset=q_offset, backend=backend)


def test_masks_at_negative_positions_agree_with_numpy() -> None:
    _, i, j = positions(-33)
    near = (abs(abs(i) - j) < 3) | (np.maximum(i, 3) == j) | ((i % 7 == j % 5) & (i // 16 == -1))
    mask = dense_mask(around_zero(window=3), LENGTH, LENGTH, q_offset=-33)
    np.testing.assert_array_equal(mask, (((i < 0) & (j < 4)) | near)[0])


def test_kv_len_defaults_to_the_end_of_the_queries_or_zero() -> None:
    assert attncc.plan(attncc.load("causal"), 10, q_offset=-4).shape.kv_len == 6
    assert attncc.plan(attncc.load("causal"), 10, q_offset=-20).shape.kv_len == 0


def test_tables_refuse_negative_positions() -> None:
    document = attncc.load("document", ids=np.arange(LENGTH) // 9)
    with pytest.raises(attncc.TableError, match="runs from -3"):
        attncc.plan(document, LENGTH, LENGTH, q_offset=-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sizes_may_be_numpy_integers(backend: str) -> None:
    query = torch.randn(1, 1, 8, 16)
    key, value = torch.randn(2, 1, 1, 20, 16)
    causal = attncc.load("causal")
    wanted = attncc.attention(query, key, value, causal, q_offset=12)
    found = attncc.attention(query, key, value, causal, q_offset=np.int32(12), backend=backend)
    torch.testing.assert_close(found, wanted)
    assert attncc.plan(causal, np.int64(8), np.uint8(20), q_offset=np.int16(12)).shape.kv_len == 20


def test_tables_longer_than_the_sequence_are_noted() -> None:
    document = attncc.load("document", ids=np.arange(100) // 9)
    made = attncc.plan(document, 64)
    assert made.notes == ("Table 'ids' has 100 entries along axis 0; positions reach the first 64 at these lengths.",)
    assert f"note: {made.notes[0]}" in made.explain()
    assert made.describe()["notes"] == list(made.notes)
    assert attncc.plan(document, 100).notes == ()
    assert attncc.plan(document, 0).notes == ()
