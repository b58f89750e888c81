"""Reports: consistent figures, fixed settings, and notes where nothing is gained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology
from attncc.frontend.patterns import Pattern
from attncc.visualization.schedule_report import BaselineSummary, Report, distinct, exchange, report

INPUTS = Inputs(batch=1, heads=4, kv_heads=4, head_dim=64, value_dim=64, dtype="bf16")
ALONE = [Sharing(parts=4)]
CONTIGUOUS = {"partition": "contiguous", "route": "direct", "stages": 1}


def scenario(pattern: Pattern, length: int = 1024, topology: str = "4xrtx4090") -> Scenario:
    return Scenario(pattern, length, INPUTS, Topology.load(topology))


def contiguous(pattern: Pattern, length: int = 1024) -> Report:
    return report(scenario(pattern, length), ALONE, fixed=CONTIGUOUS)


def test_reports_state_the_bytes_of_the_schedule_in_each_direction() -> None:
    found = contiguous(attncc.load("sliding_window", window=100))
    flows = {"forward": traffic.forward, "backward": traffic.backward}
    for direction, way in found.traffic.items():
        moved = flows[direction](found.best.schedule, INPUTS)
        assert way.total == sum(flow.total for flow in moved) == way.sent.sum() > 0
        assert way.rounds == sum(flow.total > 0 for flow in moved)


def test_reports_note_that_dense_causal_saves_nothing() -> None:
    causal = contiguous(attncc.load("causal"))
    assert causal.of_ring == 1.0
    assert "saves nothing on the busiest rank: it receives 100% of a ring's bytes" in causal.notes[0]
    assert causal.describe()["notes"] == causal.notes
    window = contiguous(attncc.load("sliding_window", window=100))
    assert window.of_ring < 0.2
    assert not any("saves nothing" in note for note in window.notes)


def test_contiguous_causal_work_is_as_uneven_as_the_mask() -> None:
    found = contiguous(attncc.load("causal"))
    pairs = np.tril(np.ones((1024, 1024))).sum(axis=1).reshape(4, 256).sum(axis=1)
    assert found.work == pytest.approx(INPUTS.heads * pairs)
    assert found.imbalance == pytest.approx(pairs.max() / pairs.mean())


def test_faster_baselines_are_named() -> None:
    slow = report(scenario(attncc.load("causal"), 8192, "8xh100"), [Sharing(parts=8)], fixed=CONTIGUOUS)
    faster = [each for each in slow.summaries if each.seconds and each.seconds < slow.best.seconds]
    assert "usp" in {each.name for each in faster}
    assert [note for note in slow.notes if "faster in this simulation" in note] == [
        f"{each.name} is faster in this simulation, by {slow.best.seconds / each.seconds - 1:.1%}."
        for each in faster
        if each.seconds
    ]
    assert any("One device alone is faster" in note for note in contiguous(attncc.load("causal"), 64).notes)


def test_equally_fast_baselines_are_not_named() -> None:
    swapping = report(scenario(attncc.load("strided", l=32)), [Sharing(parts=1, ulysses_degree=4)], fixed=CONTIGUOUS)
    ulysses = next(each for each in swapping.summaries if each.name == "ulysses")
    assert ulysses.seconds == pytest.approx(swapping.best.seconds)
    assert not any("ulysses" in note for note in swapping.notes)


def test_baselines_are_summed_over_directions() -> None:
    found = contiguous(attncc.load("causal"))
    for number, known in enumerate(found.summaries):
        rows = [rows[number] for rows in found.baselines.values()]
        assert known.seconds == pytest.approx(sum(row.timeline.seconds for row in rows if row.timeline))
        assert known.total == sum(row.total_bytes for row in rows)
        assert known.busiest == sum(row.received for row in rows).max()


def test_impossible_baselines_have_no_seconds() -> None:
    three = replace(scenario(attncc.load("causal")), topology=Topology.load("4xrtx4090").subset(3), _problems={})
    summaries = report(three, [Sharing(parts=3)], fixed=CONTIGUOUS).summaries
    ulysses = next(each for each in summaries if each.name == "ulysses")
    assert ulysses.seconds is None
    assert ulysses.note == "not possible: 3 ranks don't divide 4 heads"


def test_notes_of_each_direction_are_labelled() -> None:
    found = contiguous(attncc.load("causal"))
    row = next(each for each in found.baselines["forward"] if each.name == "usp")
    known = BaselineSummary.of({"forward": replace(row, note="u = 2"), "backward": replace(row, note="u = 4")})
    assert known.note == "forward: u = 2; backward: u = 4"


def test_spans_of_each_rank_are_described() -> None:
    found = contiguous(attncc.load("causal"))
    for direction, told in found.describe()["directions"].items():
        timeline = found.best.timelines[direction]
        assert max(each["ends_s"] for each in told["ranks"]) == told["makespan_s"]
        for rank, each in enumerate(told["ranks"]):
            assert each["computing_s"] + each["waiting_s"] == pytest.approx(each["ends_s"])
            assert each["computing_s"] == pytest.approx(sum(end - begin for begin, end in each["computing"]))
            assert len(each["exchanging"]) == (timeline.travelling[:, rank] > 0).sum() > 0
        assert told["exposed_s"] == told["ranks"][timeline.last]["waiting_s"]


def test_waiting_for_shared_cores_is_not_idle_time() -> None:
    even = report(scenario(attncc.load("full"), 2048, "gloo"), ALONE, fixed=CONTIGUOUS)
    assert 0 <= even.idle < 0.05
    uneven = report(scenario(attncc.load("causal"), 2048, "gloo"), ALONE, fixed=CONTIGUOUS)
    assert 0.3 < uneven.idle < 1


def test_one_device_takes_the_sum_of_all_ranks() -> None:
    found = report(scenario(attncc.load("full"), 2048), ALONE, fixed=CONTIGUOUS)
    busy = sum(float(timeline.busy.sum()) for timeline in found.best.timelines.values())
    assert found.one_device == pytest.approx(busy, rel=0.3)  # besides the launches of tasks


@pytest.mark.parametrize(
    "fixed", [{"route": "ring"}, {"stages": 4}, {"partition": "zigzag"}, {"unit": 32, "route": "direct"}]
)
def test_fixed_settings_hold_for_every_candidate(fixed: dict[str, object]) -> None:
    tried = choose(scenario(attncc.load("causal")), fixed=fixed)
    assert len(tried) > 4
    assert all(getattr(each.settings, name) == value for each in tried for name, value in fixed.items())
    assert len({(each.settings, each.sharing) for each in tried}) == len(tried)


def test_every_exchange_is_tried_by_default() -> None:
    steps: list[str] = []
    tried = choose(scenario(attncc.load("causal")), ALONE, steps.append)
    assert {(each.settings.route, each.settings.stages) for each in tried} >= {
        ("direct", 0), ("direct", 1), ("direct", 2), ("direct", 4), ("ring", 1)
    }  # fmt: skip
    assert len(steps) >= len(tried)
    assert distinct(tried)[0] is tried[0]
    assert len(distinct(tried)) == len({each.settings.partition for each in tried})


@pytest.mark.parametrize("name", ["4xrtx4090", "gloo"])
def test_mixed_heads_are_no_slower_than_baselines(name: str) -> None:
    """Some heads send everything and others almost nothing."""
    mix = attncc.per_head([attncc.load("sliding_window", window=256), attncc.load("strided", l=128).union()])
    for directions in (("forward",), ("forward", "backward")):
        found = report(Scenario(mix, 16384, INPUTS, Topology.load(name), directions))
        assert found.best.seconds <= min(each.seconds for each in found.summaries if each.seconds) * (1 + 1e-9)


def test_exchanges_are_described_in_words() -> None:
    said = {exchange(each) for each in choose(scenario(attncc.load("causal")))}
    assert {
        "groups of 4 swap sequence for heads",
        "groups of 2 swap sequence for heads, direct in 2 stages",
        "direct in one round",
        "direct in one round, computed at once after it",
        "units go round a ring",
    } <= said
