"""Messages: latency, shared links, successive rounds, and speed."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from stars import ALPHA, BETA, flow, ranks, star

from attncc.distributed.schedules.traffic import Flow, nothing
from attncc.distributed.simulation.messages import Messages, flow_seconds
from attncc.distributed.topology import Topology


def test_one_message_takes_latency_and_transfer() -> None:
    assert flow_seconds(flow((0, 1, 500)), star(2)) == pytest.approx(2 * ALPHA + 500 / BETA)


def test_empty_flows_take_no_time() -> None:
    assert flow_seconds(nothing(), star(2)) == 0.0
    assert flow_seconds(flow((0, 0, 500), (0, 1, 0)), star(2)) == 0.0


def test_latencies_add_up_within_a_rank_and_overlap_between_ranks() -> None:
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
def test_the_busiest_channel_determines_the_time(link: dict[str, object], bytes_of_busiest: int) -> None:
    moved = flow((0, 1, 100), (0, 2, 200), (3, 0, 400))
    bytes_of_busiest = max(bytes_of_busiest, 400)
    assert flow_seconds(moved, star(4, alpha=0.0, **link)) == pytest.approx(bytes_of_busiest / BETA)


def test_chains_are_busiest_in_the_middle() -> None:
    graph = nx.path_graph(4)
    nx.set_node_attributes(graph, "h100", "target")
    nx.set_edge_attributes(graph, {edge: {"alpha": 0.0, "beta": BETA} for edge in graph.edges})
    topology = Topology.from_graph(graph, name="chain")
    assert flow_seconds(flow((0, 3, 10), (1, 2, 20), (0, 2, 30), (3, 0, 7)), topology) == pytest.approx(60 / BETA)


def test_messages_wait_for_the_busiest_link_of_their_path_only() -> None:
    found = Messages.of(flow((0, 1, 3000), (2, 1, 5000), (2, 3, 1000)), star(4))
    transfer = np.array([8000, 8000, 6000]) / BETA  # 1 gets 8,000 bytes, 2 sends 6,000
    assert found.seconds == pytest.approx(4 * ALPHA + transfer)


def test_messages_start_once_both_ends_and_all_links_are_ready() -> None:
    bus = star(4, alpha=0.0, shared="bus")
    found = Messages.of(flow((0, 1, 2_000_000), (2, 3, 1_000_000)), bus)
    assert found.seconds == pytest.approx([3.0, 3.0])
    up, down = (bus.network.channel[bus.network.tail == vertex][0] for vertex in (bus.vertex[0], 4))
    free = np.zeros(2)
    arrival, after = found.sent(np.array([1.0, 2.0, 6.0, 0.0]), free)
    assert arrival == pytest.approx([2.0 + 3.0, 6.0 + 3.0])
    assert after == pytest.approx([9.0, 9.0])
    free[down] = 8.0
    arrival, after = found.sent(np.array([1.0, 2.0, 6.0, 0.0]), free)
    assert arrival == pytest.approx([11.0, 11.0])
    assert after[[up, down]] == pytest.approx([11.0, 11.0])


def test_placement_and_subsets_agree() -> None:
    topology = Topology.load("64xh100")
    moved = flow((0, 1, 1 << 20), (1, 2, 1 << 22))
    near, far = ranks(0, 1, 2), ranks(0, 8, 16)
    assert flow_seconds(moved, topology, far) > flow_seconds(moved, topology, near)
    assert flow_seconds(moved, topology, far) == flow_seconds(moved, topology.subset([0, 8, 16]))


@pytest.mark.timeout(60)
def test_a_thousand_devices_are_simulated_quickly() -> None:
    topology = Topology.load("1024xh100")
    random = np.random.default_rng(1)
    source, target = random.integers(0, 1024, (2, 4000))
    moved = Flow(source, target, random.integers(1, 1 << 20, 4000))
    assert len({flow_seconds(moved, topology) for _ in range(500)}) == 1
