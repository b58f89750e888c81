"""Topologies: devices in rank order, the nodes that hold them, and the network between them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike

import networkx as nx
import numpy as np

from attncc import targets
from attncc.distributed.topology import file
from attncc.distributed.topology.checks import choice, number, table, unknown_keys
from attncc.distributed.topology.network import MOST_LINKS, MOST_VERTICES, Network
from attncc.errors import TopologyError
from attncc.ir.tables import Array

#: For whom ranks wait in a round; the first is the default.
ROUNDS = ("pairwise", "synchronous")


@dataclass(frozen=True)
class Device:
    """A device: vertex number `vertex`, called `label`, in node number `node`.

    Attributes:
        target: A name in attncc.targets.
        share: The part of the target's rates that it has to itself.
    """

    label: str
    vertex: int
    target: str
    node: int
    share: float


@dataclass(frozen=True, eq=False)
class Topology:
    """Devices in rank order, and what connects them.

    Attributes:
        cores: Of nodes (by number) whose devices share a pool, how many of them can compute at full speed at once.
        rounds: Of ROUNDS, for whom a rank waits in a round: those that it exchanges something with, as NCCL's do, or
            all of its group, as gloo's do (a superstep of Valiant 1990 without the barrier at its end).
        graph: Vertices and links, as `from_graph` takes it.
    """

    name: str
    title: str
    devices: tuple[Device, ...]
    cores: Mapping[int, float]
    rounds: str
    graph: nx.Graph
    network: Network

    @classmethod
    def from_graph(cls, graph: nx.Graph, *, name: str, title: str = "") -> Topology:
        """Return the topology of an undirected graph; devices are ranked in the order of its vertices.

        Vertices with a `target` (a name in attncc.targets) are devices, the others switches; devices may have `node`
        (a label, by default one for all) and `share` (of the target's rates, 1.0). Edges have `alpha` (seconds), `beta`
        (bytes/s), and may have `duplex` ("full" or "half") and `shared` (a name: edges with the same one are one
        medium). graph.graph["cores"] may give nodes a pool, and "rounds" say that they are synchronous. Raises
        TopologyError for anything else.
        """
        _check_graph(graph)
        nodes: dict[Hashable, int] = {}
        devices = tuple(
            _device(vertex, label, facts, nodes)
            for vertex, (label, facts) in enumerate(graph.nodes(data=True))
            if facts  # a switch has none
        )
        if not devices:
            raise TopologyError(
                f"Topology {name!r} has no devices.",
                rule="A device is a vertex with a target.",
                fix="Give vertices a target from `attncc targets`.",
            )
        rounds = choice(f"topology {name!r}", graph.graph, "rounds", ROUNDS, ROUNDS[0])
        return cls(name, title or name, devices, _cores(graph, nodes), rounds, graph, Network.of(graph))

    @classmethod
    def load(cls, name_or_path: str | PathLike[str]) -> Topology:
        """Return a shipped topology by its name, or the one in a file if this ends in .toml; raises TopologyError."""
        return cls._of(file.load(name_or_path))

    @classmethod
    def parse(cls, content: str, *, name: str) -> Topology:
        """Return the topology that a TOML text describes; raises TopologyError, whatever is wrong with it."""
        return cls._of(file.parse(content, name=name))

    @classmethod
    def _of(cls, found: file.Described) -> Topology:
        return cls.from_graph(found.graph, name=found.name, title=found.title)

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the names of the shipped topologies."""
        return file.names()

    @property
    def count(self) -> int:
        """Number of devices."""
        return len(self.devices)

    @property
    def is_synchronous(self) -> bool:
        """Whether a rank waits in a round for all of its group."""
        return self.rounds == "synchronous"

    @cached_property
    def vertex(self) -> Array:
        """The vertex of each device, int64 (count,)."""
        return np.array([device.vertex for device in self.devices], np.int64)

    @cached_property
    def node(self) -> Array:
        """The node of each device, int64 (count,)."""
        return np.array([device.node for device in self.devices], np.int64)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of its devices, each once."""
        return tuple(sorted({device.target for device in self.devices}))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that a simulation depends on, but the targets' rates: names and titles don't matter."""
        devices = [(device.vertex, device.target, device.node, device.share) for device in self.devices]
        found = hashlib.sha256(repr((devices, sorted(self.cores.items()), self.rounds)).encode())
        network = self.network
        for array in (network.tail, network.head, network.alpha, network.channel, network.beta):
            found.update(np.int64(array.size).tobytes() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def subset(self, devices: int | Sequence[int]) -> Topology:
        """Return the topology with only the first n devices, or with these devices in this order, as ranks 0, 1, ...

        The network stays as it is, so that what doesn't take part still connects. Raises TopologyError.
        """
        if isinstance(devices, int) and not 1 <= devices <= self.count:
            raise TopologyError(
                f"{devices} devices of topology {self.name!r}.",
                rule=f"It has {self.count} devices; use at least 1.",
                fix=f"Take 1 to {self.count}, or a larger topology.",
            )
        chosen = range(devices) if isinstance(devices, int) else devices
        wrong = [k for k in chosen if k not in range(self.count)]
        if wrong or not len(chosen) or len(set(chosen)) < len(chosen):
            raise TopologyError(
                f"Devices {wrong or list(chosen)} of topology {self.name!r}.",
                rule=f"Devices are numbers from 0 to {self.count - 1}, at least one, each once.",
                fix="Name others, or fewer.",
            )
        return replace(self, devices=tuple(self.devices[k] for k in chosen))


def _check_graph(graph: nx.Graph) -> None:
    if graph.is_directed() or graph.is_multigraph():
        raise TopologyError(
            f"A {type(graph).__name__} was given for a topology.",
            rule="It is an undirected networkx.Graph.",
            fix="Convert it, for example with networkx.Graph(graph).",
        )
    if not 1 <= len(graph) <= MOST_VERTICES or graph.number_of_edges() > MOST_LINKS:
        raise TopologyError(
            f"{len(graph)} vertices and {graph.number_of_edges()} links.",
            rule=f"A topology has 1 to {MOST_VERTICES} vertices and at most {MOST_LINKS} links.",
            fix="Add devices, or describe a part of the machine.",
        )
    loops = [label for label in graph if graph.has_edge(label, label)]
    if loops:
        raise TopologyError(
            f"{loops[0]!r} is linked to itself.",
            rule="A link connects two different vertices.",
            fix="Leave the link out.",
        )
    if not nx.is_connected(graph):
        parts = [next(iter(part)) for part in nx.connected_components(graph)]
        raise TopologyError(
            f"There is no way from {parts[0]!r} to {parts[1]!r}.",
            rule="A topology is connected: every device reaches every other.",
            fix="Connect them with a link.",
        )


def _device(vertex: int, label: Hashable, facts: Mapping[str, object], nodes: dict[Hashable, int]) -> Device:
    where = f"device {label!r}"
    unknown_keys(where, facts, ("target", "node", "share"))
    return Device(
        label=str(label),
        vertex=vertex,
        target=choice(where, facts, "target", targets.names(), ""),
        node=nodes.setdefault(facts.get("node", 0), len(nodes)),
        share=number(where, facts, "share", least=1e-6, most=1.0, default=1.0),
    )


def _cores(graph: nx.Graph, nodes: Mapping[Hashable, int]) -> dict[int, float]:
    cores = table("cores", graph.graph.get("cores", {}))
    wrong = [label for label in cores if label not in nodes]
    if wrong:
        raise TopologyError(
            f"Cores for node {wrong[0]!r}.",
            rule="Cores are for nodes that hold devices.",
            fix="Name a node that a device has.",
        )
    return {nodes[label]: number("cores", cores, label, least=1e-6, most=1e6) for label in cores}
