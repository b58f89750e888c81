"""Topologies from graphs: devices, paths, channels, and invalid graphs."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from attncc.distributed.topology import Topology
from attncc.errors import AttnccError, TopologyError

LINK = {"alpha": 1e-6, "beta": 1e9}


def star(count: int = 3, **link: object) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(count), target="h100")
    graph.add_edges_from(((k, "switch") for k in range(count)), **(LINK | link))
    return graph


def paths(topology: Topology, source: int, target: int) -> list[int]:
    """The vertices from a source to a target."""
    found = [target]
    for _, arcs in topology.network.hops(np.array([source]), np.array([target])):
        found.append(int(topology.network.tail[arcs[0]]))
    return found[::-1]


def test_devices_are_the_vertices_with_a_target_in_order() -> None:
    graph = nx.Graph()
    graph.add_node("b", target="cpu", node="left", share=0.5)
    graph.add_node("switch")
    graph.add_node("a", target="h100", node="right")
    graph.add_edges_from([("a", "switch"), ("b", "switch")], **LINK)
    graph.graph["cores"] = {"left": 2.0}
    topology = Topology.from_graph(graph, name="mine")
    assert [(d.label, d.vertex, d.target, d.node, d.share) for d in topology.devices] == [
        ("b", 0, "cpu", 0, 0.5),
        ("a", 2, "h100", 1, 1.0),
    ]
    assert topology.cores == {0: 2.0}
    assert topology.targets == ("cpu", "h100")
    assert topology.vertex.tolist() == [0, 2]


def test_shortest_paths_agree_with_networkx() -> None:
    graph = nx.random_regular_graph(3, 30, seed=1)
    random = np.random.default_rng(2)
    for a, b in graph.edges:
        graph.edges[a, b].update(alpha=float(random.integers(1, 100)) * 1e-6, beta=float(random.integers(1, 9)) * 1e9)
    nx.set_node_attributes(graph, "h100", "target")
    topology = Topology.from_graph(graph, name="random")
    labels = list(graph)
    cost = {edge: f["alpha"] + (1 << 20) / f["beta"] for *edge, f in graph.edges(data=True) for edge in [tuple(edge)]}
    nx.set_edge_attributes(graph, cost, "cost")
    expected = dict(nx.all_pairs_dijkstra_path_length(graph, weight="cost"))
    for a in range(30):
        for b in range(30):
            way = [labels[v] for v in paths(topology, a, b)]
            assert way[0] == labels[a]
            assert nx.path_weight(graph, way, "cost") == pytest.approx(expected[labels[a]][labels[b]])


def test_paths_take_the_faster_link() -> None:
    graph = star(2)
    graph.add_edge(0, 1, alpha=1e-6, beta=1e6)
    assert paths(Topology.from_graph(graph, name="t"), 0, 1) == [0, 2, 1]
    graph.edges[0, 1]["beta"] = 1e9
    assert paths(Topology.from_graph(graph, name="t"), 0, 1) == [0, 1]


def test_links_too_fast_to_add_up_make_no_cycles() -> None:
    graph = nx.cycle_graph(6)
    nx.set_node_attributes(graph, "h100", "target")
    nx.set_edge_attributes(graph, {edge: {"alpha": 0.0, "beta": 1e18} for edge in graph.edges})
    graph.edges[0, 1].update(alpha=1e3)
    graph.edges[0, 5].update(alpha=1e3)
    assert paths(Topology.from_graph(graph, name="t"), 0, 3)[0] == 0


@pytest.mark.parametrize(
    ("link", "channels"),
    [({}, 6), ({"duplex": "half"}, 3), ({"shared": "bus"}, 2), ({"shared": "bus", "duplex": "half"}, 1)],
)
def test_links_determine_the_number_of_channels(link: dict[str, object], channels: int) -> None:
    assert len(Topology.from_graph(star(**link), name="t").network.beta) == channels


def test_a_single_device_needs_no_links() -> None:
    graph = nx.Graph()
    graph.add_node(0, target="cpu")
    topology = Topology.from_graph(graph, name="one")
    assert topology.count == 1
    assert list(topology.network.hops(np.array([0]), np.array([0]))) == []


def test_subset_keeps_the_network_and_renumbers() -> None:
    topology = Topology.from_graph(star(4), name="t")
    assert [d.label for d in topology.subset(2).devices] == ["0", "1"]
    assert [d.label for d in topology.subset([3, 1]).devices] == ["3", "1"]
    assert topology.subset([3, 1]).vertex.tolist() == [3, 1]
    assert topology.subset(2).network is topology.network


@pytest.mark.parametrize("devices", [0, 5, -1, [], [0, 0], [4], [-1]])
def test_subsets_of_invalid_devices_are_refused(devices: int | list[int]) -> None:
    with pytest.raises(TopologyError, match=r"devices|Devices"):
        Topology.from_graph(star(4), name="t").subset(devices)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"beta": 0.0}, "beta = 0.0"),
        ({"beta": -1e9}, "beta = -"),
        ({"beta": float("nan")}, "beta = nan"),
        ({"beta": float("inf")}, "beta = inf"),
        ({"beta": "fast"}, "beta = 'fast'"),
        ({"beta": True}, "beta = True"),
        ({"alpha": -1e-9}, "alpha = -1e-09"),
        ({"alpha": None}, "no alpha"),
        ({"duplex": "both"}, "duplex = 'both'"),
        ({"gamma": 1}, "unknown key 'gamma'"),
    ],
)
def test_links_are_checked(link: dict[str, object], message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        Topology.from_graph(star(**link), name="t")


def test_shared_media_have_equal_facts() -> None:
    graph = star(shared="bus")
    graph.edges[0, "switch"]["beta"] = 2e9
    with pytest.raises(TopologyError, match="share 'bus'"):
        Topology.from_graph(graph, name="t")


def test_digests_depend_on_rounds() -> None:
    plain, other = star(), star()
    other.graph["rounds"] = "synchronous"
    made = [Topology.from_graph(graph, name="t") for graph in (plain, other)]
    assert [each.rounds for each in made] == ["pairwise", "synchronous"]
    assert made[0].digest != made[1].digest
    assert made[1].subset(2).is_synchronous


def test_graphs_are_checked() -> None:
    def refused(graph: nx.Graph, message: str) -> None:
        with pytest.raises(TopologyError, match=message):
            Topology.from_graph(graph, name="t")

    refused(nx.DiGraph(star()), "DiGraph")
    refused(nx.MultiGraph(star()), "MultiGraph")
    refused(nx.Graph(), "0 vertices")
    refused(nx.path_graph(9000), "9000 vertices")
    lonely = star()
    lonely.add_node("lonely", target="cpu")
    refused(lonely, "no way from 0 to 'lonely'")
    loop = star()
    loop.add_edge(1, 1, **LINK)
    refused(loop, "1 is linked to itself")
    unknown = star()
    unknown.nodes[0]["target"] = "h1000"
    refused(unknown, "(?s)target = 'h1000'.*Did you mean 'h100'")
    key = star()
    key.nodes[0]["weight"] = 1
    refused(key, "unknown key 'weight'")
    share = star()
    share.nodes[0]["share"] = 0
    refused(share, "share = 0")
    typo = star()
    typo.nodes["switch"]["traget"] = "cpu"
    refused(typo, "(?s)unknown key 'traget'.*Did you mean 'target'")
    switch = star()
    switch.nodes["switch"]["node"] = 1
    refused(switch, "device 'switch': target = ''")
    cores = star()
    cores.graph["cores"] = {"elsewhere": 2.0}
    refused(cores, "Cores for node 'elsewhere'")
    cores.graph["cores"] = {0: 0.0}
    refused(cores, "0 = 0.0")
    rounds = star()
    rounds.graph["rounds"] = "gloo"
    refused(rounds, "rounds = 'gloo'")
    bare = nx.path_graph(2)
    bare.edges[0, 1].update(LINK)
    refused(bare, "no devices")


def test_topology_errors_are_public_value_errors() -> None:
    import attncc

    assert attncc.TopologyError is TopologyError
    assert issubclass(TopologyError, AttnccError)
    assert issubclass(TopologyError, ValueError)
