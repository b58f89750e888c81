"""Key ranges: coverage, counts and hulls."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner import axis
from attncc.planner.key_ranges import KeyRanges, everything, hull, tabulated

COLS = 30


def drawn(seed: int, *, monotone: bool) -> KeyRanges:
    ends = np.random.default_rng(seed).integers(0, COLS + 1, (2, 25))
    return tabulated(*(np.sort(ends, axis=1) if monotone else ends), COLS)


def covered(found: KeyRanges) -> np.ndarray:
    start, stop = found.bounds()
    keys = np.arange(found.cols)
    return (start[:, None] <= keys) & (keys < stop[:, None])


@pytest.mark.parametrize("monotone", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_hulls_of_rows_contain_all_of_them(seed: int, monotone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axis, "CHUNK", 7)
    found = drawn(seed, monotone=monotone)
    start, stop = found.bounds()
    assert found.monotone == monotone
    assert (start <= stop).all()
    assert found.nnz == covered(found).sum()
    first, last = np.triu_indices(found.rows)
    bounds = np.array(found.hull(first, last)).T
    for a, b, row in zip(first, last, bounds, strict=True):
        rows = slice(a, b + 1)
        exact = [start[rows].min(), start[rows].max(), stop[rows].min(), stop[rows].max()]
        assert row.tolist() == exact if monotone else ((row - exact) * [1, -1, 1, -1] <= 0).all()


def test_hulls_cover_all_key_ranges() -> None:
    several = [drawn(seed, monotone=True) for seed in range(3)]
    found = hull(several)
    assert found.monotone
    assert all(not (covered(each) & ~covered(found)).any() for each in several)
    assert not hull([*several, drawn(9, monotone=False)]).monotone
    assert hull(several[:1]) is several[0]


def test_everything_covers_all_pairs() -> None:
    assert covered(everything(6, COLS)).all()
    assert (everything(6, COLS).nnz, everything(0, COLS).nnz) == (6 * COLS, 0)
