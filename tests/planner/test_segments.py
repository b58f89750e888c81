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
    for segment in found:
        rows = np.arange(segment.first, segment.first + segment.rows)
        seen[rows] += 1
        assert segment.rows >= 3
        assert (start[rows] == segment.start).all()
        grows = np.arange(segment.rows) if segment.kind == RAMP else 0
        np.testing.assert_array_equal(stop[rows] - start[rows], segment.width + grows)
        assert segment.kind in (FLAT, RAMP)
    np.testing.assert_array_equal(seen, stop > start)
