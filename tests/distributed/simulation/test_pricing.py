"""Tasks at the price of their own plans."""

from __future__ import annotations

import pytest

import attncc
from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.backends.torch import BACKEND
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation import pricing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.pricing import best, priced
from attncc.distributed.simulation.scene import Scene
from attncc.distributed.topology import Topology

INPUTS = Inputs(2, 4, 2, 32, 32, "fp32")
WINDOW = attncc.load("sliding_window", window=64)


def scene(pattern: attncc.Pattern, ranks: int, name: str = "gloo") -> Scene:
    return Scene(pattern, 2048, INPUTS, Topology.load(name).subset(ranks))


def test_one_task_on_one_device_costs_what_its_backend_predicts() -> None:
    one = scene(WINDOW, 1)
    found = priced(one, one.candidate(Settings(), Sharing()))
    plan = attncc.plan(WINDOW, 2048, tile=BACKEND.tile)
    for way, timeline in found.timelines.items():
        alone = BACKEND.predict(plan, INPUTS, way, {}, targets.target("cpu"))
        assert timeline.compute.sum() == pytest.approx(alone / one.topology.devices[0].share)


def test_rows_that_are_scattered_cost_more_than_rows_that_lie_together() -> None:
    """By pairs the two are alike."""
    four = scene(WINDOW, 4)
    together, apart = (four.candidate(Settings(name, unit=64), Sharing(parts=4)) for name in ("contiguous", "striped"))
    assert together.timelines["forward"].compute.sum() == pytest.approx(
        apart.timelines["forward"].compute.sum(), rel=0.2
    )
    dear, cheap = (priced(four, each).timelines["forward"].compute.sum() for each in (apart, together))
    assert dear > 1.3 * cheap


@pytest.mark.parametrize("name", ["gloo", "8xh100"])
def test_lanes_and_spreads_are_priced_head_by_head(name: str) -> None:
    mix = attncc.per_head([WINDOW, attncc.load("causal")])
    four = scene(mix, 4, name)
    found = [priced(four, four.candidate(Settings(), sharing)) for sharing in (Sharing(parts=4), Sharing(1, 2, 2))]
    sums = [each.timelines["forward"].compute.sum() for each in found]
    assert sums[0] == pytest.approx(sums[1], rel=0.5)
    assert all(each.seconds > 0 for each in found)


def test_the_best_is_cheapest_among_the_first_unless_there_are_too_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    four = scene(attncc.load("strided", l=32).union(), 4)
    tried = choose(four, [Sharing(parts=4)])
    chosen = best(four, tried)
    assert priced(four, chosen).seconds == min(priced(four, each).seconds for each in tried[: pricing.FINALISTS])
    monkeypatch.setattr(pricing, "MOST_TASKS", 0)
    assert best(four, tried) is tried[0]


def test_prices_leave_the_schedule_as_it_is() -> None:
    four = scene(WINDOW, 4)
    candidate = four.candidate(Settings(), Sharing(parts=4))
    assert priced(four, candidate).schedule is candidate.schedule
