"""Cycles: closed forms agree with listing and sorting the axis."""

from __future__ import annotations

import numpy as np
import pytest

from attncc.planner.axis import Axis
from attncc.planner.cycle import Cycle

CLASSES = 5


def drawn(seed: int) -> tuple[Cycle, np.ndarray, np.ndarray]:
    """Return a random cycle, its positions in order and the class of each, listed and sorted."""
    rng = np.random.default_rng(seed)
    length, period = int(rng.integers(0, 60)), int(rng.integers(1, 14))
    residues = np.flatnonzero(rng.random(period) < 0.7)
    number = rng.integers(0, CLASSES, len(residues))
    class_of = np.full(period, -1)
    class_of[residues] = number
    of_position = class_of[np.arange(length) % period]
    places = np.argsort(of_position, kind="stable")[np.count_nonzero(of_position < 0) :]
    return Cycle.of(length, period, residues, number, CLASSES), places, of_position[places]


@pytest.mark.parametrize("seed", range(40))
def test_slots_and_positions_agree_with_a_sort(seed: int) -> None:
    cycle, places, number = drawn(seed)
    assert cycle.size == len(places)
    slots = np.arange(cycle.size)
    np.testing.assert_array_equal(cycle.at(slots), places)
    np.testing.assert_array_equal(cycle.class_at(slots), number)
    np.testing.assert_array_equal(np.diff(cycle.starts), np.bincount(number, minlength=CLASSES))
    assert cycle.ascends == bool(np.all(np.diff(places) > 0))


@pytest.mark.parametrize("seed", range(40))
def test_first_slots_agree_with_a_search(seed: int) -> None:
    cycle, places, number = drawn(seed)
    wanted = np.arange(-3, cycle.length + 4)
    for k in range(CLASSES):
        own = np.sort(places[number == k])
        expected = cycle.starts[k] + np.searchsorted(own, wanted)
        np.testing.assert_array_equal(cycle.slot(np.full(len(wanted), k), wanted), expected)


@pytest.mark.parametrize("block", [1, 4, 128])
@pytest.mark.parametrize("seed", range(10))
def test_bounds_of_blocks_agree_with_a_listing(seed: int, block: int) -> None:
    cycle, places, _ = drawn(seed)
    low, high = cycle.bounds(block)
    parts = [places[first : first + block] for first in range(0, len(places), block)]
    assert low.tolist() == [part.min() for part in parts]
    assert high.tolist() == [part.max() for part in parts]


@pytest.mark.parametrize("seed", range(40))
def test_axes_list_a_cycle_on_demand(seed: int) -> None:
    cycle, places, _ = drawn(seed)
    axis = Axis.of(cycle)
    slots = np.arange(axis.size)
    np.testing.assert_array_equal(axis.at(slots), places)
    assert vars(axis).get("positions") is None
    np.testing.assert_array_equal(axis.places, places)
    np.testing.assert_array_equal(axis.at(slots), places)
    unmoved = np.array_equal(places, np.arange(cycle.length))
    assert (axis.positions is None) == unmoved == (axis.kind == "identity")
