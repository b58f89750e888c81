"""Bands: limits at queries, and the first key that reaches one."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.ir.symbols import I, J
from attncc.planner.axis import Axis
from attncc.planner.bands import first_at_least, key_values, limits, rises
from attncc.planner.relation import Band


@pytest.mark.parametrize("key", [J, 3 * J, J // 4])
@pytest.mark.parametrize("axis", [Axis(30), Axis(30, np.arange(1, 30, 3))])
def test_the_first_key_that_reaches_a_limit(key, axis: Axis) -> None:
    band = Band(key, I - 5, None)
    lower, upper = limits(band, np.arange(40))
    assert upper is None
    assert lower is not None
    values = {J: axis.places, 3 * J: 3 * axis.places}.get(key, axis.places // 4)
    found = first_at_least(lower, band, key_values(band, axis))
    np.testing.assert_array_equal(np.minimum(found, axis.size), np.searchsorted(values, lower))


def test_bands_that_rise() -> None:
    assert rises((Band(J, I - 5, I), Band(J, None, 2 * I // 3)))
    assert rises((Band(J, None, 7 * I**0),))
    assert not rises((Band(J, I - 5, 10 - I),))
