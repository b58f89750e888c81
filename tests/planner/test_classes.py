"""Classes: numbers that are equal where all joins hold, in the order of the joins."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.ir.symbols import I, J
from attncc.planner.classes import CLASSES, classes_of
from attncc.planner.relation import Join


@pytest.mark.parametrize("scale", [1, 1 << 40])
def test_classes_are_equal_where_all_joins_hold(scale: int) -> None:
    joins = (Join(scale * (I % 3), scale * (J % 5)), Join(I // 4, J // 7))
    query, key = np.arange(40), np.arange(50)
    of_query, of_key = classes_of(joins, query, key)
    holds = (query[:, None] % 3 == key % 5) & (query[:, None] // 4 == key // 7)
    np.testing.assert_array_equal(of_query[:, None] == of_key, holds)
    assert max(of_query.max(), of_key.max()) < CLASSES
    order = np.lexsort([key // 7, key % 5])
    assert (np.diff(of_key[order]) >= 0).all()


def test_an_empty_join_has_one_class() -> None:
    assert all(not number.any() for number in classes_of((), np.arange(4), np.arange(3)))
