"""Simulation: launches, targets, pools of cores, groups that share links, and the cost of a pair."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from stars import flow, pooled, ranks, run, star, step

import attncc
from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.simulation.simulate import BACKWARD, launches, makespan, pair_costs, pair_seconds
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError

INPUTS = Inputs(1, 8, 8, 64, 64, "fp16")


def test_each_task_costs_a_launch() -> None:
    line = run(([step([1.0, 2.0], tasks=[10, 3])], ranks(0, 1)), topology=star(2), launch=0.5)
    assert line.seconds == pytest.approx(6.0)


def test_empty_schedules_take_no_time() -> None:
    line = run(([], ranks(0, 1)), topology=star(2))
    assert (line.seconds, line.exposed, line.lower_bound, len(line.starts)) == (0.0, 0.0, 0.0, 0)
    assert run(topology=star(2)).seconds == 0.0


def test_groups_share_links_and_may_differ_in_steps() -> None:
    topology = star(4, alpha=0.0, shared="bus")
    moved = flow((0, 1, 1_000_000))
    one = ([step([0.0, 0.0], moved), step([7.0, 0.0])], ranks(2, 0))
    other = ([step([0.0, 0.5], moved)], ranks(1, 3))
    assert run(one, topology=topology).seconds == pytest.approx(1.0 + 7.0)
    both = run(one, other, topology=topology)
    assert both.travelling == pytest.approx(np.array([[2.0] * 4, [0.0] * 4]))
    assert both.seconds == pytest.approx(2.0 + 7.0)
    assert both.compute.tolist() == [[0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 7.0, 0.0]]


def test_devices_of_a_node_share_a_pool_of_cores() -> None:
    topology = pooled(star(4), {"left": 2.0}, ["left", "left", "left", "right"], share=0.5)
    places = ranks(0, 1, 2, 3)
    assert run(([step([1.0, 1.0, 1.0, 0.0])], places), topology=topology).seconds == pytest.approx(3.0)
    assert run(([step([4.0, 1.0, 1.0, 0.0])], places), topology=topology).seconds == pytest.approx(8.0)
    assert run(([step([1.0, 1.0, 1.0, 2.0])], places), topology=topology).seconds == pytest.approx(4.0)


def test_four_processes_are_no_faster_than_the_host() -> None:
    """Evenly divided pairs take as long on four processes as on the host that they share."""
    line = run(([step([1.0] * 4)], ranks(0, 1, 2, 3)), topology=Topology.load("gloo"))
    assert line.seconds == pytest.approx(4.0)


def test_targets_have_their_own_cost_per_pair() -> None:
    graph = star(2).graph.copy()
    graph.nodes[1]["target"] = "rtx4090"
    topology = Topology.from_graph(graph, name="mixed")
    line = makespan([([step([1.0, 1.0])], ranks(0, 1))], topology, {"h100": 1.0, "rtx4090": 5.0}, launches(topology))
    assert line.compute.tolist() == [[1.0, 5.0]]


@pytest.mark.parametrize(
    ("devices", "message"),
    [((0, 2), "Device 2"), ((-1, 0), "Device -1"), ((1, 1), "two ranks"), ((0,), "2 ranks on 1")],
)
def test_placements_are_checked(devices: tuple[int, ...], message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        run(([step([1.0, 1.0])], ranks(*devices)), topology=star(2))


def test_dense_pairs_cost_little_more_than_their_arithmetic() -> None:
    causal = attncc.load("causal")
    target = targets.target("h100")
    plan = attncc.plan(causal, 1 << 16, heads=8, target="h100")
    inputs = Inputs(1, 8, 8, 64, 64, "fp16")
    pair = pair_seconds(plan, inputs, plan.pairs, target, "forward")
    assert 1.0 <= pair / (4 * 64 / target.flops) < 1.1
    assert pair_seconds(plan, inputs, plan.pairs, target, "backward") == pytest.approx(BACKWARD * pair)
    wide = Inputs(1, 8, 8, 128, 64, "fp16")
    assert pair_seconds(plan, wide, plan.pairs, target, "forward") == pytest.approx(1.5 * pair)


def test_pair_seconds_count_every_head_and_batch_entry_once() -> None:
    window = attncc.load("sliding_window", window=64)
    plan = attncc.plan(window, 4096, target="h100")
    two = attncc.plan(attncc.per_head([window, window.causal()]), 4096, heads=2, target="h100")
    target = targets.target("h100")
    one_head, eight = Inputs(1, 1, 1, 64, 64, "fp16"), Inputs(2, 4, 4, 64, 64, "fp16")
    alone = pair_seconds(plan, one_head, plan.pairs, target, "forward")
    assert pair_seconds(plan, eight, 8 * plan.pairs, target, "forward") == pytest.approx(alone)
    pair_of_two = pair_seconds(two, Inputs(1, 2, 2, 64, 64, "fp16"), two.pairs, target, "forward")
    assert pair_of_two == pytest.approx(alone)


def test_costs_are_listed_by_target() -> None:
    plan = attncc.plan(attncc.load("causal"), 4096)
    topology = Topology.load("gloo")
    assert pair_costs(plan, INPUTS, plan.pairs, topology, "forward") == {
        "cpu": pair_seconds(plan, INPUTS, plan.pairs, targets.target("cpu"), "forward")
    }
    assert launches(topology) == {"cpu": targets.target("cpu").launch}


def test_simulation_imports_no_torch() -> None:
    code = (
        "import sys; from attncc.distributed.simulation import baselines, choose; "
        "from attncc.distributed.topology import file; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
