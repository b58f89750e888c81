"""Simulation: contention, latency, pools of cores, groups that share links, and speed."""

from __future__ import annotations

import time

import networkx as nx
import numpy as np
import pytest

import attncc
from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.traffic import Flow, Step, nothing
from attncc.distributed.simulation.simulate import (
    BACKWARD,
    Timeline,
    flow_seconds,
    launches,
    makespan,
    pair_costs,
    pair_seconds,
)
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.ir.tables import Array

ALPHA, BETA = 1e-3, 1e6
INPUTS = Inputs(1, 8, 8, 64, 64, "fp16")


def star(count: int, **link: object) -> Topology:
    graph = nx.Graph()
    graph.add_nodes_from(range(count), target="h100")
    graph.add_edges_from(((k, "switch") for k in range(count)), **({"alpha": ALPHA, "beta": BETA} | link))
    return Topology.from_graph(graph, name="star")


def flow(*pairs: tuple[int, int, int]) -> Flow:
    return Flow(*(np.array(column, np.int64) for column in zip(*pairs, strict=True)))


def step(work: list[float], moved: Flow | None = None, tasks: list[int] | None = None) -> Step:
    return Step(np.array(work), np.array(tasks or [0] * len(work)), moved or nothing())


def ranks(*devices: int) -> Array:
    return np.array(devices, np.int64)


def run(*groups: tuple[list[Step], Array], topology: Topology, pair: float = 1.0, launch: float = 0.0) -> Timeline:
    names = topology.targets
    return makespan(groups, topology, dict.fromkeys(names, pair), dict.fromkeys(names, launch))


def test_one_message() -> None:
    assert flow_seconds(flow((0, 1, 500)), star(2)) == pytest.approx(2 * ALPHA + 500 / BETA)


def test_nothing_moves_in_no_time() -> None:
    assert flow_seconds(nothing(), star(2)) == 0.0
    assert flow_seconds(flow((0, 0, 500), (0, 1, 0)), star(2)) == 0.0


def test_latencies_of_a_rank_add_up_and_ranks_overlap() -> None:
    tiny = 1
    scattered = flow((0, 1, tiny), (0, 2, tiny), (0, 3, tiny))
    gathered = flow((1, 0, tiny), (2, 0, tiny), (3, 0, tiny))
    shifted = flow((0, 1, tiny), (1, 2, tiny), (2, 3, tiny), (3, 0, tiny))
    assert flow_seconds(scattered, star(4)) == pytest.approx(6 * ALPHA + 3 * tiny / BETA)
    assert flow_seconds(gathered, star(4)) == pytest.approx(6 * ALPHA + 3 * tiny / BETA)
    assert flow_seconds(shifted, star(4)) == pytest.approx(2 * ALPHA + tiny / BETA)


@pytest.mark.parametrize(
    ("link", "bytes_of_busiest"),
    [
        ({}, 300),  # 0 sends 100 + 200
        ({"duplex": "half"}, 700),  # and receives 400, on the same channel
        ({"shared": "bus"}, 700),  # all that goes up
        ({"shared": "bus", "duplex": "half"}, 1400),  # all that goes up and down
    ],
)
def test_contention(link: dict[str, object], bytes_of_busiest: int) -> None:
    moved = flow((0, 1, 100), (0, 2, 200), (3, 0, 400))
    bytes_of_busiest = max(bytes_of_busiest, 400)
    assert flow_seconds(moved, star(4, alpha=0.0, **link)) == pytest.approx(bytes_of_busiest / BETA)


def test_a_chain_is_busiest_in_the_middle() -> None:
    graph = nx.path_graph(4)
    nx.set_node_attributes(graph, "h100", "target")
    nx.set_edge_attributes(graph, {edge: {"alpha": 0.0, "beta": BETA} for edge in graph.edges})
    topology = Topology.from_graph(graph, name="chain")
    assert flow_seconds(flow((0, 3, 10), (1, 2, 20), (0, 2, 30), (3, 0, 7)), topology) == pytest.approx(60 / BETA)


def test_placement_and_subsets_agree() -> None:
    topology = Topology.load("64xh100")
    moved = flow((0, 1, 1 << 20), (1, 2, 1 << 22))
    near, far = ranks(0, 1, 2), ranks(0, 8, 16)
    assert flow_seconds(moved, topology, far) > flow_seconds(moved, topology, near)
    assert flow_seconds(moved, topology, far) == flow_seconds(moved, topology.subset([0, 8, 16]))


def test_a_step_takes_the_longer_of_its_two_sides() -> None:
    topology = star(2, alpha=0.0)
    line = run(
        ([step([3.0, 1.0], flow((0, 1, 2_000_000))), step([1.0, 2.0], flow((1, 0, 5_000_000)))], ranks(0, 1)),
        topology=topology,
    )
    assert line.computing.tolist() == [3.0, 2.0]
    assert line.communicating == pytest.approx([2.0, 5.0])
    assert line.seconds == pytest.approx(3.0 + 5.0)
    assert line.exposed == pytest.approx(3.0)
    assert line.starts == pytest.approx([0.0, 3.0])
    assert line.compute.tolist() == [[3.0, 1.0], [1.0, 2.0]]


def test_launches_count_tasks() -> None:
    line = run(([step([1.0, 2.0], tasks=[10, 3])], ranks(0, 1)), topology=star(2), launch=0.5)
    assert line.seconds == pytest.approx(6.0)


def test_no_steps_take_no_time() -> None:
    line = run(([], ranks(0, 1)), topology=star(2))
    assert (line.seconds, line.exposed, len(line.starts)) == (0.0, 0.0, 0)
    assert run(topology=star(2)).seconds == 0.0


def test_groups_share_links_and_may_differ_in_steps() -> None:
    topology = star(4, alpha=0.0, shared="bus")
    moved = flow((0, 1, 1_000_000))
    one = ([step([0.0, 0.0], moved), step([7.0, 0.0])], ranks(2, 0))
    other = ([step([0.0, 0.5], moved)], ranks(1, 3))
    assert run(one, topology=topology).seconds == pytest.approx(1.0 + 7.0)
    both = run(one, other, topology=topology)
    assert both.communicating == pytest.approx([2.0, 0.0])
    assert both.compute.tolist() == [[0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 7.0, 0.0]]


def test_a_pool_of_cores_is_shared_by_the_devices_of_a_node() -> None:
    graph = star(4).graph.copy()
    for rank in range(4):
        graph.nodes[rank].update(node="left" if rank < 3 else "right", target="cpu", share=0.5)
    graph.graph["cores"] = {"left": 2.0}
    topology = Topology.from_graph(graph, name="pooled")
    places = ranks(0, 1, 2, 3)
    assert run(([step([1.0, 1.0, 1.0, 0.0])], places), topology=topology).seconds == pytest.approx(3.0)
    assert run(([step([4.0, 1.0, 1.0, 0.0])], places), topology=topology).seconds == pytest.approx(8.0)
    assert run(([step([1.0, 1.0, 1.0, 2.0])], places), topology=topology).seconds == pytest.approx(4.0)


def test_four_processes_do_no_more_than_the_host() -> None:
    """Evenly divided, a plan's pairs take as long on the four processes as on the whole host that they share."""
    line = run(([step([1.0] * 4)], ranks(0, 1, 2, 3)), topology=Topology.load("gloo"))
    assert line.seconds == pytest.approx(4.0)


def test_devices_of_different_targets() -> None:
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


def test_a_pair_costs_its_arithmetic_and_little_more_where_all_is_dense() -> None:
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


def test_costs_by_target() -> None:
    plan = attncc.plan(attncc.load("causal"), 4096)
    topology = Topology.load("gloo")
    assert pair_costs(plan, INPUTS, plan.pairs, topology, "forward") == {
        "cpu": pair_seconds(plan, INPUTS, plan.pairs, targets.target("cpu"), "forward")
    }
    assert launches(topology) == {"cpu": targets.target("cpu").launch}


def test_a_thousand_devices_are_fast() -> None:
    topology = Topology.load("1024xh100")
    random = np.random.default_rng(1)
    source, target = random.integers(0, 1024, (2, 4000))
    moved = Flow(source, target, random.integers(1, 1 << 20, 4000))
    flow_seconds(moved, topology)
    start = time.perf_counter()
    for _ in range(20):
        flow_seconds(moved, topology)
    assert (time.perf_counter() - start) / 20 < 0.02
