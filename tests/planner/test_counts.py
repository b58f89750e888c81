"""Counts of predicates by the method that evaluates the fewest pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest

import attncc
from attncc.planner import counts
from attncc.planner.shape import Shape

N = 1500
rng = np.random.default_rng(0)
DOCUMENTS, BUCKETS = np.sort(rng.integers(0, 9, N)), rng.integers(0, 9, N)

COUNTED: dict[str, Callable[..., object]] = {
    "documents": lambda i, j: (documents[i] == documents[j]) & (i * j % 6 == 0) & (j <= i),
    "buckets": lambda i, j: (buckets[i] == buckets[j]) & (i * j % 6 == 0),
    "keys left out": lambda i, j: (buckets[j] != 3) & ((i + j) % 10 < 4) & (j <= i),
    "queries left out": lambda i, j: (buckets[i] != 3) & ((i + j) % 10 < 4) & (j <= i),
    "a union with bands": lambda i, j: (i < 16) | (j < 16) | (i * j % 64 == 0) | (abs(i - j) < 64),
    "a union with gaps": lambda i, j: ((i - j >= 9) & (i - j < N) & (buckets[i - j] == 1)) | gap_residues(i, j),
    "cases": lambda i, j: (abs(i - j) % 7 == (i + j) % 3) | (attncc.minimum(i, j) % 16 == 1),
    "whole": lambda i, j: reduce(lambda a, b: a ^ b, [(i + k * j) % 12 < 5 for k in range(1, 9)]) & (j <= i),
}
documents, buckets = attncc.Table(DOCUMENTS), attncc.Table(BUCKETS)


def gap_residues(i, j):
    return (i * j % 7 == 1) & (i - j < 9)


@pytest.mark.parametrize("name", COUNTED)
def test_counts_evaluate_few_pairs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncc.planner.bisect.count", lambda *_: pytest.fail("it looked at tiles"))
    pattern = attncc.pattern(COUNTED[name])
    assert attncc.plan(pattern, N).nnz == int(attncc.dense_mask(pattern, N).sum())
    assert counts.count(pattern().predicate, Shape(N, N), most=N * N // 20) is not None


APERIODIC: dict[str, Callable[..., object]] = {
    "a hyperbola": lambda i, j: (i * j < 9000) & (i * j % 3 == 1),
    "pairs of a table": lambda i, j: blocks[i // 50, j // 50] & (j <= i),
    "a long period": lambda i, j: i * j % N < 7,
}
blocks = attncc.Table(rng.random((30, 30)) < 0.5)


@pytest.mark.parametrize("name", APERIODIC)
def test_aperiodic_predicates_are_left_to_tiles(name: str) -> None:
    predicate = attncc.pattern(APERIODIC[name])().predicate
    assert counts.count(predicate, Shape(N - 1, N - 1), most=(N - 1) ** 2) is None


def test_empty_and_full_predicates_are_counted() -> None:
    shape = Shape(9, 8)
    assert counts.count(attncc.pattern(lambda i, j: (i < 3) & (i > 5))().predicate, shape, 1) == 0
    assert counts.count(attncc.pattern(lambda i, j: j >= 0)().predicate, shape, 1) == 72
