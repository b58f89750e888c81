"""Factorisation: verdict, pairs and paths agree with a search over the dense masks of the subsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import attncc
from attncc.planner.shape import Shape
from attncc.proof import factorisation
from attncc.proof.period import period

DOCUMENTS = np.random.default_rng(1).integers(0, 3, 64)


@attncc.pattern
def each_order_fails(i, j):
    """The first order leaves out 0 -> 2 alone, the other one 2 -> 4 alone."""
    gaps = ((j == 0) & (i == 2)) | ((j == 2) & (i == 4)) | ((j == 1) & (i == 2))
    return ((j == 1) & (i == 2)) | ((j == 2) & (i == 3)), (j <= i) & ~gaps


@attncc.pattern
def second_order(i, j):
    """Only the summaries first and the blocks second connect everything."""
    return (i // 4 == j // 4) & (j <= i), (i % 4 == 0) & (j <= i)


@attncc.pattern
def products(i, j):
    return (j <= i) & (i * j % 4 == 0), (j <= i) & (i - j < 5)


@attncc.pattern
def by_table(i, j, *, ids: attncc.Table):
    return (j <= i) & (ids[i] == ids[j]), (j <= i) & (i - j < 12)


@attncc.pattern
def both_ways(i, j):
    return abs(i - j) < 5, (i - j) % 5 == 0


@attncc.pattern
def three(i, j):
    return tuple((j <= i) & ((i - j) % 3**m == 0) & (i - j < 3 ** (m + 1)) for m in range(3))


@attncc.pattern
def wider_heads(i, j, h):
    return (j <= i) & (i - j <= 3 + h), (j <= i) & ((i - j) % 5 == 0)


PATTERNS = {
    "strided": attncc.load("strided", l=5),
    "fixed": attncc.load("fixed", l=5, c=1),
    "each order fails": each_order_fails(),
    "second order": second_order(),
    "products": products(),
    "table": by_table(ids=DOCUMENTS),
    "both ways": both_ways(),
    "three": three(),
}


def subsets_of(pattern: attncc.Pattern, length: int, **leading: int) -> list[np.ndarray]:
    return [attncc.dense_mask(pattern.layers(m), length, **leading).numpy() for m in range(len(pattern.subsets))]


def unconnected(subsets: list[np.ndarray]) -> dict[tuple[int, ...], set[tuple[int, int]]]:
    """Return the pairs (j, i), j <= i, that each order leaves out."""
    n = len(subsets[0])
    found = {}
    for order in itertools.permutations(range(len(subsets))):
        reach = np.eye(n, dtype=bool)
        for m in order:
            reach = reach | (subsets[m].astype(int) @ reach.astype(int) > 0)
        found[order] = {(int(j), int(i)) for i, j in np.argwhere(~reach & np.tri(n, dtype=bool))}
    return found


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("length", [5, 9, 27, 60])
def test_verdicts_pairs_and_locations_agree_with_a_search(name: str, length: int) -> None:
    subsets = subsets_of(PATTERNS[name], length)
    missing = unconnected(subsets)
    finding = factorisation.prove(PATTERNS[name], Shape(length, length))
    assert finding.holds == (not all(missing.values()))
    if not finding.holds:
        _check(finding.counterexample, subsets, missing)
        assert ("in any order" in finding.detail) == bool(set.intersection(*missing.values()))


def _check(found, subsets: list[np.ndarray], missing: dict[tuple[int, ...], set[tuple[int, int]]]) -> None:
    claimed = {tuple(m - 1 for m in entry["order"]): (entry["j"], entry["i"]) for entry in found["orders"]}
    assert claimed.keys() == missing.keys()
    assert all(pair in missing[order] for order, pair in claimed.items())
    common = set.intersection(*missing.values())
    assert not common or set(claimed.values()) <= common
    at = np.arange(len(subsets[0])) == found["j"]
    for m, locations in zip(found["order"], found["reached"], strict=True):
        at = at | subsets[m - 1][:, at].any(1)
        assert locations == np.flatnonzero(at).tolist()


@pytest.mark.parametrize(("name", "length"), [("strided", 60), ("fixed", 60), ("second order", 9)])
def test_examples_are_paths_from_the_first_to_the_last_position(name: str, length: int) -> None:
    finding = factorisation.prove(PATTERNS[name], Shape(length, length))
    path = [int(x) for x in finding.detail.rpartition("for example ")[2].split(" → ")]
    mask = attncc.dense_mask(PATTERNS[name], length).numpy()
    assert (path[0], path[-1]) == (0, length - 1)
    assert len(path) <= len(PATTERNS[name].subsets) + 1
    assert all(mask[i, j] for j, i in itertools.pairwise(path))


def test_every_head_is_checked() -> None:
    refuted = attncc.verify(wider_heads(), 40, heads=3)[2]
    assert refuted.holds == all(
        any(not pairs for pairs in unconnected([s[h] if s.ndim == 3 else s for s in masks]).values())
        for masks in [subsets_of(wider_heads(), 40, heads=3)]
        for h in range(3)
    )


def test_failing_heads_are_named() -> None:
    @attncc.pattern
    def narrow_last(i, j, h):
        return (j <= i) & (i - j <= 6 - 2 * h), (j <= i) & ((i - j) % 5 == 0)

    finding = attncc.verify(narrow_last(), 40, heads=3)[2]
    assert finding.counterexample["head"] == 2
    assert "in head 2" in finding.detail
    assert attncc.verify(narrow_last(), 40, heads=2)[2].holds


def test_patterns_with_one_subset_have_no_factorisation() -> None:
    for pattern in (PATTERNS["strided"].union(), PATTERNS["strided"].heads(), attncc.load("sliding_window")):
        assert [finding.name for finding in attncc.verify(pattern, 32, heads=2)] == ["causal", "no empty rows"]


@pytest.mark.parametrize(
    ("name", "sources"), [("strided", 1), ("fixed", 5), ("products", 4), ("table", 60), ("both ways", 60)]
)
def test_one_period_of_sources_suffices(name: str, sources: int) -> None:
    assert period(PATTERNS[name].subsets, Shape(60, 60)) == sources


def test_oversized_orders_do_not_hide_others(monkeypatch: pytest.MonkeyPatch) -> None:
    @attncc.pattern
    def columns_first(i, j):
        return (j <= i) & ((i - j) % 4 == 0), (j <= i) & (i - j < 4)

    shape = Shape(400, 400)
    # Columns first reach 100 locations, each of which meets all 400 queries; the window first reaches 4.
    monkeypatch.setattr("attncc.proof.paths.MAX_PAIRS", 400 * 60)
    assert "by A(2), A(1) in turn" in factorisation.prove(columns_first(), shape).detail
    monkeypatch.setattr("attncc.proof.paths.MAX_PAIRS", 400)
    assert factorisation.prove(columns_first(), shape).holds is None
