"""Patterns and scores restricted to a rank, compared with rows and columns of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.distributed.schedules.restriction import Restriction, restricted, restricted_score
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array, Read
from attncc.testing import check_attention
from attncc.testing.oracle import Problem, dense
from attncc.testing.strategies import Case, cases

N = 96
RNG = np.random.default_rng(0)
HEADS = attncc.per_head([attncc.load("causal"), attncc.load("strided", l=8), attncc.load("sliding_window", window=9)])


@attncc.pattern
def guarded(i, j, *, marks: attncc.Table):
    """Look-ups that only their guards keep inside the table."""
    return (i >= 1) & (marks[i - 1] == 1) | ((i - j >= 0) & (i - j < 5) & (marks[i - j] == 0))


@attncc.pattern
def per_entry(i, j, b, h, n_k, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j + h < n_k - b)


def subset(draw: st.DrawFn, length: int) -> Array:
    """Draw ascending positions: consecutive, evenly spaced, or any."""
    first = draw(st.integers(0, length - 1))
    if draw(st.booleans()):
        step = draw(st.sampled_from([1, 1, 2, 4]))
        return np.arange(first, draw(st.integers(first + 1, length)), step)
    return np.array(sorted(draw(st.sets(st.integers(0, length - 1), min_size=1))))


@st.composite
def places(draw: st.DrawFn, length: int, heads: int, batch: int) -> Restriction:
    return Restriction(
        subset(draw, length),
        subset(draw, length),
        length,
        np.array(draw(st.lists(st.integers(0, heads - 1), min_size=1, max_size=4))),
        np.array(draw(st.lists(st.integers(0, batch - 1), min_size=1, max_size=3))),
    )


def full_mask(pattern: attncc.Pattern, q_len: int, kv_len: int, heads: int, batch: int) -> torch.Tensor:
    mask = as_broadcast(attncc.dense_mask(pattern, q_len, kv_len, heads=heads, batch=batch), pattern)
    return mask.expand(batch, heads, q_len, kv_len)


def taken(whole: torch.Tensor, restriction: Restriction) -> torch.Tensor:
    return whole[np.ix_(restriction.entries, restriction.heads, restriction.queries, restriction.keys)]


def check(pattern: attncc.Pattern, restriction: Restriction, heads: int = 3, batch: int = 2) -> attncc.Pattern:
    whole = full_mask(pattern, restriction.length, restriction.length, heads, batch)
    there = restricted(pattern, restriction)
    mask = full_mask(
        there, len(restriction.queries), len(restriction.keys), len(restriction.heads), len(restriction.entries)
    )
    assert torch.equal(mask, taken(whole, restriction))
    return there


@given(cases(), st.data())
@settings(max_examples=150)
def test_restrictions_of_any_pattern_are_exact(case: Case, data: st.DataObject) -> None:
    check(case.pattern, data.draw(places(case.q_len, case.heads, case.batch)), case.heads, case.batch)


def every(queries: Array, keys: Array) -> Restriction:
    return Restriction(queries, keys, N, np.arange(3), np.arange(2))


ROWS = {
    "consecutive": np.arange(20, 50),
    "every fourth": np.arange(3, N, 4),
    "two parts": np.r_[0:10, 80:96],
    "one": np.array([17]),
}
PATTERNS = {
    "window": attncc.load("sliding_window", window=20),
    "strided": attncc.load("strided", l=8),
    "fixed": attncc.load("fixed", l=16, c=3),
    "documents": attncc.load("document", ids=np.arange(N) // 13).causal(),
    "heads": HEADS,
    "guarded": guarded(marks=RNG.integers(0, 2, N)),
    "entries": per_entry(ids=RNG.integers(0, 3, (2, 3, N))),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("queries", ROWS)
@pytest.mark.parametrize("keys", ROWS)
def test_restrictions_of_common_patterns_are_exact(name: str, queries: str, keys: str) -> None:
    check(PATTERNS[name], every(ROWS[queries], ROWS[keys]))


def test_restricted_bands_remain_bands() -> None:
    causal = attncc.load("causal")
    assert restricted(causal, every(np.arange(32, 64), np.arange(16, 48))) == attncc.pattern(lambda i, j: j <= i + 16)()
    assert restricted(causal, every(np.arange(1, N, 4), np.arange(2, N, 4))) == attncc.pattern(lambda i, j: j < i)()


def test_restricted_tables_keep_only_their_rows() -> None:
    there = restricted(PATTERNS["documents"], every(ROWS["two parts"], ROWS["consecutive"]))
    reads = {read for atom in there.predicate.atoms for read in atom.expr.atoms(Read)}
    assert {read.indices for read in reads} == {(I,), (J,)}
    assert {len(read.table.data) for read in reads} == {26, 30}


def test_restricted_tables_select_the_head_of_each_slot() -> None:
    restriction = Restriction(np.arange(10), np.arange(N), N, np.array([2, 0]), np.array([1]))
    there = check(PATTERNS["entries"], restriction)
    assert max(len(table.data) for table in there.predicate.tables) <= N


@attncc.score
def biased(score, i, j, h, *, slopes: attncc.Weights, ids: attncc.Table, near: attncc.Weights):
    bias = score + slopes[h] * (j - i) + near[attncc.minimum(i // 3, 30)]
    other = attncc.where(abs(i - j) < 4, score * (i % 7), near[j % 5] + ((i ^ j) & 5) / 8)
    stepped = attncc.where((score > 0.25) & ~(near[i // 4] < 0.5) | (j // (1 + i) == 1), other, attncc.cos(score))
    return attncc.where(ids[i] == ids[j], bias, stepped)


@pytest.mark.parametrize("queries", ROWS)
@pytest.mark.parametrize("keys", ["consecutive", "two parts"])
def test_restricted_scores_are_exact(queries: str, keys: str) -> None:
    restriction = Restriction(ROWS[queries], ROWS[keys], N, np.array([2, 0, 1]), np.arange(1))
    ids, slopes, near = np.arange(N) // 20, torch.rand(3), torch.rand(31)
    score = biased(slopes=slopes, ids=ids, near=near)
    there = attncc.frontend.scores.Score.of(restricted_score(score.expression, restriction), score.weights, "placed")
    pattern = restricted(HEADS, restriction)
    problem = Problem.drawn(len(restriction.queries), len(restriction.keys), heads=3, kv_heads=3).with_weights(
        [slopes, near]
    )
    i, j = torch.from_numpy(restriction.queries).view(-1, 1), torch.from_numpy(restriction.keys)
    documents = torch.from_numpy(ids)

    def formula(scores, weights):
        bias = scores + weights[0][restriction.heads].view(3, 1, 1) * (j - i) + weights[1][(i // 3).clamp(max=30)]
        other = torch.where((i - j).abs() < 4, scores * (i % 7), weights[1][j % 5] + ((i ^ j) & 5) / 8)
        kept = (scores > 0.25) & ~(weights[1][i // 4] < 0.5) | (j // (1 + i) == 1)
        stepped = torch.where(kept, other, torch.cos(scores))
        return torch.where(documents[i] == documents[j], bias, stepped)

    mask = taken(full_mask(HEADS, N, N, 3, 1), restriction)
    wanted = dense(problem.to(torch.float64), mask, formula)
    q, k, v = (x.clone().requires_grad_() for x in (problem.query, problem.key, problem.value))
    out, lse = attncc.attention(q, k, v, pattern, score=there, return_lse=True)
    torch.testing.assert_close(out.double(), wanted.out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse.double(), wanted.lse, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["window", "strided", "heads", "documents"])
def test_backends_run_restricted_patterns(name: str) -> None:
    restriction = Restriction(ROWS["two parts"], ROWS["every fourth"], N, np.arange(3), np.arange(1))
    problem = Problem.drawn(len(restriction.queries), len(restriction.keys), heads=3, kv_heads=3)
    mask = taken(full_mask(PATTERNS[name], N, N, 3, 1), restriction)
    check_attention(restricted(PATTERNS[name], restriction), mask, problem)
