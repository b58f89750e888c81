"""Orders compared with sorted tuples, and ranges with Python's."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner.order import opens, order_by, ranges


@pytest.mark.parametrize("least", [-3, 0, 1 << 16, (1 << 16) - 2, 1 << 40], ids=str)
def test_rows_sort_as_tuples(least: int) -> None:
    first, second = np.random.default_rng(0).integers(least, least + 5, (2, 200))
    rows = [*zip(first.tolist(), second.tolist(), strict=True)]
    assert order_by(first, second).tolist() == sorted(range(200), key=rows.__getitem__)


def test_opens_marks_rows_that_differ_from_the_previous_one() -> None:
    assert opens(np.array([1, 1, 1, 2]), np.array([5, 5, 6, 6])).tolist() == [True, False, True, True]


def test_ranges_are_concatenated() -> None:
    first, count = np.array([5, 0, -2, 7]), np.array([3, 0, 2, 1])
    each = [range(a, a + n) for a, n in zip(first.tolist(), count.tolist(), strict=True)]
    assert ranges(first, count).tolist() == [x for one in each for x in one]
    assert ranges(4, count).tolist() == [4, 5, 6, 4, 5, 4]


def test_empty_rows_give_empty_orders() -> None:
    nothing = np.empty(0, np.int64)
    assert not len(order_by(nothing, nothing))
    assert not len(opens(nothing, nothing))
    assert not len(ranges(nothing, nothing))
