"""Small topologies, flows and steps for tests of the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np

from attncc.distributed.schedules.traffic import Flow, Superstep, nothing
from attncc.distributed.simulation.simulate import makespan
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology
from attncc.ir.tables import Array

ALPHA, BETA = 1e-3, 1e6


def star(count: int, **link: object) -> Topology:
    """Devices around a switch."""
    graph = nx.Graph()
    graph.add_nodes_from(range(count), target="h100")
    graph.add_edges_from(((k, "switch") for k in range(count)), **({"alpha": ALPHA, "beta": BETA} | link))
    return Topology.from_graph(graph, name="star")


def pooled(topology: Topology, cores: Mapping[str, float], node: Sequence[str], share: float = 1.0) -> Topology:
    """The same devices in nodes, as processes that share cores."""
    graph = topology.graph.copy()
    for rank, label in enumerate(node):
        graph.nodes[rank].update(node=label, target="cpu", share=share)
    graph.graph["cores"] = dict(cores)
    return Topology.from_graph(graph, name="pooled")


def synchronous(topology: Topology) -> Topology:
    """The same, but in each round ranks wait for all of their group."""
    graph = topology.graph.copy()
    graph.graph["rounds"] = "synchronous"
    return Topology.from_graph(graph, name="synchronous")


def flow(*triples: tuple[int, int, int]) -> Flow:
    """Bytes from one rank to another."""
    return Flow(*(np.array(column, np.int64) for column in zip(*triples, strict=True)))


def step(work: Sequence[float], moved: Flow | None = None, tasks: Sequence[int] | None = None) -> Superstep:
    """What ranks compute while a flow is on its way."""
    return Superstep(np.array(work, np.float64), np.array(tasks or [0] * len(work)), moved or nothing())


def ranks(*devices: int) -> Array:
    """Device numbers."""
    return np.array(devices, np.int64)


def run(*groups: tuple[list[Superstep], Array], topology: Topology, pair: float = 1.0, launch: float = 0.0) -> Timeline:
    """The timeline where all targets take the same."""
    names = topology.targets
    return makespan(groups, topology, dict.fromkeys(names, pair), dict.fromkeys(names, launch))
