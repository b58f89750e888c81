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
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology

INPUTS = Inputs(2, 4, 2, 32, 32, "fp32")
WINDOW = attncc.load("sliding_window", window=64)


def scenario(pattern: attncc.Pattern, ranks: int, name: str = "gloo") -> Scenario:
    return Scenario(pattern, 2048, INPUTS, Topology.load(name).subset(ranks))


def test_a_single_task_costs_the_prediction_of_its_backend() -> None:
    one = scenario(WINDOW, 1)
    found = priced(one, one.candidate(Settings(), Sharing()))
    plan = attncc.plan(WINDOW, 2048, tile=BACKEND.tile)
    for way, timeline in found.timelines.items():
        alone = BACKEND.predict(plan, INPUTS, way, {}, targets.target("cpu"))
        assert timeline.compute.sum() == pytest.approx(alone / one.topology.devices[0].share)


def test_scattered_rows_cost_more_than_contiguous_ones() -> None:
    """Both have as many pairs."""
    four = scenario(WINDOW, 4)
    together, apart = (four.candidate(Settings(name, unit=64), Sharing(parts=4)) for name in ("contiguous", "cyclic"))
    assert together.timelines["forward"].compute.sum() == pytest.approx(
        apart.timelines["forward"].compute.sum(), rel=0.2
    )
    dear, cheap = (priced(four, each).timelines["forward"].compute.sum() for each in (apart, together))
    assert dear > 1.3 * cheap


@pytest.mark.parametrize("name", ["gloo", "8xh100"])
def test_heads_are_priced_individually(name: str) -> None:
    mix = attncc.per_head([WINDOW, attncc.load("causal")])
    four = scenario(mix, 4, name)
    found = [priced(four, four.candidate(Settings(), sharing)) for sharing in (Sharing(parts=4), Sharing(1, 2, 2))]
    sums = [each.timelines["forward"].compute.sum() for each in found]
    assert sums[0] == pytest.approx(sums[1], rel=0.5)
    assert all(each.seconds > 0 for each in found)


def test_the_cheapest_finalist_is_chosen_unless_tasks_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    four = scenario(attncc.load("strided", l=32).union(), 4)
    tried = choose(four, [Sharing(parts=4)])
    chosen = best(four, tried)
    assert priced(four, chosen).seconds == min(priced(four, each).seconds for each in tried[: pricing.FINALISTS])
    monkeypatch.setattr(pricing, "MOST_TASKS", 0)
    assert best(four, tried) is tried[0]


def test_pricing_leaves_the_schedule_unchanged() -> None:
    four = scenario(WINDOW, 4)
    candidate = four.candidate(Settings(), Sharing(parts=4))
    assert priced(four, candidate).schedule is candidate.schedule
