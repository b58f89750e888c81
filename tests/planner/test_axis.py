"""Axes: the positions in a range of slots, in each order of a layout."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner import axis as module
from attncc.planner.axis import Axis
from attncc.planner.cycle import Cycle

AXES = {
    "identity": Axis(40),
    "compacted": Axis(40, np.arange(3, 40, 4)),
    "sorted": Axis(40, np.argsort(np.arange(40) % 7, kind="stable")),
}
RESIDUES = Cycle.of(4000, 7, np.arange(7), np.arange(7), 7)


@pytest.mark.parametrize("kind", AXES)
def test_spans_bound_the_positions_of_a_range(kind: str) -> None:
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
def test_selections_and_orders_refer_to_slots(kind: str) -> None:
    axis, kept = AXES[kind], np.array([1, 4, 5])
    np.testing.assert_array_equal(axis.select(kept).places, axis.places[kept])
    turned = np.arange(axis.size)[::-1]
    np.testing.assert_array_equal(axis.reordered(turned).places, axis.places[::-1])
    assert axis.reordered(np.arange(axis.size)) is axis


def test_spans_of_cycles_list_no_positions() -> None:
    axis = Axis.of(RESIDUES)
    first = np.arange(0, 4000, 64)
    last = np.minimum(first + 64, 4000) - 1
    low, high = axis.span(first, last)
    assert vars(axis).get("positions") is None
    sorted_places = Axis(4000, np.argsort(np.arange(4000) % 7, kind="stable"))
    parts = [sorted_places.places[a : b + 1] for a, b in zip(first, last, strict=True)]
    for found in ((low, high), sorted_places.span(first, last)):
        assert np.array(found).T.tolist() == [[part.min(), part.max()] for part in parts]


def test_positions_are_listed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 9)
    np.testing.assert_array_equal(Axis.of(RESIDUES).places, np.argsort(np.arange(4000) % 7, kind="stable"))
