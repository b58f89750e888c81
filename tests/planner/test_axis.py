"""Axes: which positions stand in a range of slots, in each order that a layout may have."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner.axis import Axis

AXES = {
    "identity": Axis(40),
    "compacted": Axis(40, np.arange(3, 40, 4)),
    "sorted": Axis(40, np.argsort(np.arange(40) % 7, kind="stable")),
}


@pytest.mark.parametrize("kind", AXES)
def test_places_and_spans(kind: str) -> None:
    axis = AXES[kind]
    assert axis.kind == kind
    first, last = np.triu_indices(axis.size)
    low, high = axis.span(first, last)
    for a, b, least, greatest in zip(first, last, low, high, strict=True):
        places = axis.places[a : b + 1]
        assert least <= places.min() <= places.max() <= greatest
        assert kind == "sorted" or (least, greatest) == (places.min(), places.max())
    np.testing.assert_array_equal(axis.at(np.arange(axis.size)), axis.places)


@pytest.mark.parametrize("kind", AXES)
def test_selections_and_orders_are_of_slots(kind: str) -> None:
    axis, kept = AXES[kind], np.array([1, 4, 5])
    np.testing.assert_array_equal(axis.select(kept).places, axis.places[kept])
    turned = np.arange(axis.size)[::-1]
    np.testing.assert_array_equal(axis.reordered(turned).places, axis.places[::-1])
    assert axis.reordered(np.arange(axis.size)) is axis
