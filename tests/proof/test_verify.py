"""verify: each verdict agrees with brute force, and counterexamples are real."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

import attncc


@attncc.pattern
def gaps(i, j, *, l: int = 8):
    """Like strided, but every other column is missing."""
    return (i - l < j) & (j <= i), ((i - j) % (2 * l) == 0) & (j <= i)


@attncc.pattern
def holes(i, j):
    return (abs(i - j) % 3 < 2) & (i != 17) & ((i + j) % 5 != 0)


@attncc.pattern
def looking_ahead(i, j):
    return (j <= i) & (i - j < 4), j == i + 6


PATTERNS = {
    "strided": attncc.load("strided", l=6),
    "fixed": attncc.load("fixed", l=6, c=2),
    "window": attncc.load("sliding_window", window=5),
    "dilated": attncc.load("dilated_window", window=5, dilation=3),
    "prefix": attncc.load("prefix", length=7),
    "full": attncc.load("full"),
    "gaps": gaps(),
    "holes": holes(),
    "ahead": looking_ahead(),
    "documents": attncc.load("document", ids=np.random.default_rng(0).integers(0, 4, 40)),
    "late": ~attncc.load("prefix", length=3).causal(),
}


def brute_factorised(subsets: list[np.ndarray]) -> bool:
    n = len(subsets[0])
    for order in itertools.permutations(subsets):
        reach = np.eye(n, dtype=bool)  # reach[i, j]: j's state has come to i
        for subset in order:
            reach = reach | (subset.astype(int) @ reach.astype(int) > 0)
        if reach[np.tri(n, dtype=bool)].all():
            return True
    return False


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("length", [1, 2, 19, 40])
def test_verdicts_agree_with_brute_force(name: str, length: int) -> None:
    pattern = PATTERNS[name]
    mask = attncc.dense_mask(pattern, length).numpy()
    found = {finding.name: finding for finding in attncc.verify(pattern, length)}
    assert found["causal"].holds == (not np.triu(mask, 1).any())
    assert found["no empty rows"].holds == mask.any(1).all()
    if len(pattern.subsets) > 1:
        subsets = [attncc.dense_mask(pattern.layers(m), length).numpy() for m in range(len(pattern.subsets))]
        assert found["factorisation"].holds == brute_factorised(subsets)
    for finding in found.values():
        _check_counterexample(finding, mask)


def _check_counterexample(finding, mask: np.ndarray) -> None:
    if finding.holds:
        assert not finding.counterexample
    elif finding.name == "causal":
        i, j = finding.counterexample["i"], finding.counterexample["j"]
        assert j > i
        assert mask[i, j]
    elif finding.name == "no empty rows":
        assert not mask[finding.counterexample["i"]].any()
    else:
        path = finding.counterexample["nearest_path"]
        assert path[0] == finding.counterexample["j"]
        assert all(mask[b, a] for a, b in itertools.pairwise(path))
        assert finding.counterexample["i"] not in path


def test_heads_are_looked_at_one_by_one() -> None:
    @attncc.pattern
    def growing(i, j, h):
        return (j <= i) & (i - j < 4 * h)

    finding = attncc.verify(growing(), 64, heads=3)[1]
    assert finding.counterexample == {"i": 0, "head": 0}
    assert "in head 0" in finding.detail


def test_a_million_positions_take_seconds() -> None:
    for name, parameters in (("strided", {"l": 1024}), ("sliding_window", {}), ("prefix", {})):
        begin = time.perf_counter()
        attncc.verify(attncc.load(name, **parameters).layers(0), 1 << 20)
        assert time.perf_counter() - begin < 30


def test_a_graph_that_is_too_large_leaves_the_question_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncc.proof.factorisation.MAX_EDGES", 50)
    finding = attncc.verify(PATTERNS["fixed"], 200)[2]
    assert finding.verdict == "undecided"
    assert "shorter" in finding.detail


def test_findings_are_data() -> None:
    assert attncc.verify(gaps(), 40)[2].describe()["verdict"] == "refuted"
