"""verify: verdicts agree with brute force, and counterexamples are valid."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

import attncc
from attncc.planner.shape import Shape
from attncc.proof import rows


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


@attncc.pattern
def scattered(i, j):
    """Empty nowhere, but no layout makes it dense: every pair has to be looked at."""
    return (i * j) % 7 < 3


@attncc.pattern
def rare(i, j):
    """Rows at the multiples of 11 are empty, which takes a look at every key to know."""
    return (i * j) % 11 == 5


PATTERNS = {
    "scattered": scattered(),
    "rare": rare(),
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
        assert finding.counterexample["i"] not in finding.counterexample["reached"][-1]


@pytest.mark.parametrize("name", ["scattered", "rare", "holes"])
def test_rows_agree_with_brute_force_over_many_tiles(name: str) -> None:
    mask = attncc.dense_mask(PATTERNS[name], 700).numpy()
    _, rows = attncc.verify(PATTERNS[name], 700)
    blind = np.flatnonzero(~mask.any(1))
    assert rows.counterexample == ({"i": blind[0]} if len(blind) else {})


def test_each_head_is_checked() -> None:
    @attncc.pattern
    def growing(i, j, h):
        return (j <= i) & (i - j < 4 * h)

    finding = attncc.verify(growing(), 64, heads=3)[1]
    assert finding.counterexample == {"i": 0, "head": 0}
    assert "in head 0" in finding.detail


@pytest.mark.parametrize("name", ["strided", "fixed", "sliding_window", "dilated_window", "full", "prefix"])
@pytest.mark.timeout(60)
def test_a_million_positions_are_verified_in_seconds(name: str) -> None:
    causal, rows = attncc.verify(attncc.load(name).union(), 1 << 20)
    assert causal.holds == (name not in ("full", "prefix"))
    assert rows.holds


@pytest.mark.timeout(60)
def test_rows_are_searched_until_they_see_a_key() -> None:
    found = attncc.verify(scattered(), 1 << 16)
    assert [finding.holds for finding in found] == [False, True]


def test_no_positions_have_every_property() -> None:
    assert all(finding.holds for name in ("strided", "window", "full") for finding in attncc.verify(PATTERNS[name], 0))


def test_counterexamples_name_the_batch_entry() -> None:
    @attncc.pattern
    def seen(i, j, b, *, allowed: attncc.Table):
        return (j <= i) & (allowed[b, j] == 1)

    allowed = np.ones((3, 16), np.int64)
    allowed[2, :5] = 0
    finding = attncc.verify(seen(allowed=allowed), 16, batch=3)[1]
    assert finding.counterexample == {"i": 0, "batch": 2}


def test_counterexamples_name_the_head() -> None:
    pattern = attncc.per_head([attncc.load("sliding_window", window=4), attncc.load("prefix", length=3)])
    causal, rows = attncc.verify(pattern, 32, heads=2)
    assert causal.counterexample["head"] == 1
    mask = attncc.dense_mask(pattern, 32, heads=2)
    assert mask[1, causal.counterexample["i"], causal.counterexample["j"]]
    assert rows.holds


def test_oversized_graphs_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncc.proof.paths.MAX_EDGES", 50)
    finding = attncc.verify(PATTERNS["fixed"], 200)[2]
    assert finding.verdict == "undecided"
    assert "shorter" in finding.detail


def test_findings_are_serialisable() -> None:
    findings = json.loads(json.dumps([finding.describe() for finding in attncc.verify(gaps(), 40)]))
    assert [finding["verdict"] for finding in findings] == ["proved", "proved", "refuted"]


def test_proofs_import_no_torch() -> None:
    code = "import sys, attncc; p = attncc.load('strided', l=4); attncc.verify(p, 32); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_covered_by_an_exact_pass_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_at(*_: object) -> None:
        raise AssertionError("a pair was evaluated")

    monkeypatch.setattr(rows, "pairs", looked_at)
    window_and_residues = attncc.pattern(
        lambda i, j: (j <= i) & ((i - j < 64) | ((i - j) % 64 == 0) | ((i - j) % 96 == 5) | ((i - j) % 7 == 0))
    )
    group = attncc.plan(window_and_residues, 2048).groups[0]
    assert [work.residual is not None for work in group.simplest.passes] == [True]
    assert rows.prove(window_and_residues(), Shape(2048, 2048)).holds
