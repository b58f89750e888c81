"""Segments: runs of rows without a mask partition the rows of key ranges."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner.segments import FLAT, RAMP, segments


@pytest.mark.parametrize("seed", range(30))
def test_segments_partition_the_rows_that_see_a_key(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 1], 80) if seed % 2 else np.repeat(rng.choice([0, 1], 8), 10)
    stop = np.cumsum(steps)
    start = np.minimum(np.repeat(np.sort(rng.integers(0, 40, 8)), 10), stop)
    found, rest = segments(start, stop, shortest=3)
    seen = np.zeros(80, int)
    seen[rest] += 1
    for kind, first, length, begin, width in zip(
        found.kind, found.first, found.rows, found.start, found.width, strict=True
    ):
        rows = np.arange(first, first + length)
        assert length >= 3
        assert (start[rows] == begin).all()
        grows = np.arange(length) if kind == RAMP else 0
        np.testing.assert_array_equal(stop[rows] - start[rows], width + grows)
        assert kind in (FLAT, RAMP)
    np.add.at(seen, found.row_slots, 1)
    np.testing.assert_array_equal(seen, stop > start)
