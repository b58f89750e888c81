"""Networks: vertices and links as arrays, and the shortest paths between them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np

from attncc.distributed.topology.checks import choice, number, unknown_keys
from attncc.errors import TopologyError
from attncc.ir.tables import Array

#: Most vertices of a topology, and most links: what a file can't ask beyond.
MOST_VERTICES = 8192
MOST_LINKS = 1 << 17
DUPLEX = ("full", "half")
#: Paths are the fastest ones for a message of this many bytes.
TYPICAL_BYTES = 1 << 20
#: Rows of paths that are found at once.
SOURCES = 256


@dataclass(frozen=True)
class Link:
    """A connection: `alpha` seconds a message, `beta` bytes a second, in each direction or ("half") in both together.

    Connections with the same `shared`, if it isn't None, are one medium, such as a bus: the bytes of all add up.
    """

    alpha: float
    beta: float
    duplex: str = "full"
    shared: Hashable = None

    @classmethod
    def of(cls, where: str, facts: Mapping[str, Any]) -> Link:
        """Return the link of an edge's attributes, checked; raises TopologyError, which says `where`."""
        unknown_keys(where, facts, ("alpha", "beta", "duplex", "shared"))
        return cls(
            alpha=number(where, facts, "alpha", least=0.0, most=1e3),
            beta=number(where, facts, "beta", least=1.0, most=1e18),
            duplex=choice(where, facts, "duplex", DUPLEX, "full"),
            shared=facts.get("shared"),
        )


@dataclass(frozen=True, eq=False)
class Network:
    """Both directions of all links. Arrays of one length, sorted by `head`: an arc goes from vertex tail to head.

    Attributes:
        alpha: Seconds, float64.
        channel: What the arc's bytes pass through, among `beta`, bytes a second of each channel.
    """

    vertices: int
    tail: Array
    head: Array
    alpha: Array
    channel: Array
    beta: Array

    @classmethod
    def of(cls, graph: nx.Graph) -> Network:
        """Return the network of a connected graph, its vertices numbered in the graph's order; raises TopologyError."""
        number_of = {label: k for k, label in enumerate(graph)}
        channels: dict[Hashable, int] = {}
        media: dict[Hashable, Link] = {}
        beta: list[float] = []
        arcs: list[tuple[int, int, float, int]] = []
        for a, b, facts in graph.edges(data=True):
            link = Link.of(f"the link {a!r} to {b!r}", facts)
            _same_medium(link, media)
            first, last = sorted((number_of[a], number_of[b]))
            for tail, head in ((first, last), (last, first)):
                channel = channels.setdefault(_channel(link, first, last, tail), len(beta))
                if channel == len(beta):
                    beta.append(link.beta)
                arcs.append((head, tail, link.alpha, channel))
        arcs.sort()
        columns = np.array(arcs, np.float64).reshape(-1, 4).T
        head, tail, channel = (columns[k].astype(np.int64) for k in (0, 1, 3))
        return cls(len(number_of), tail, head, columns[2], channel, np.array(beta))

    def hops(self, source: Array, target: Array) -> Iterator[tuple[Array, Array]]:
        """Walk back from the targets: yield which pairs still cross an arc, and the arc that each of these crosses."""
        entries = self._entries(np.unique(source))
        pairs = np.flatnonzero(source != target)
        here = target[pairs]
        while len(pairs):
            arcs = entries[source[pairs], here].astype(np.int64)
            yield pairs, arcs
            here = self.tail[arcs]
            left = here != source[pairs]
            pairs, here = pairs[left], here[left]

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Which sources' paths are known, and for each the arc by which its path enters a vertex."""
        return np.zeros(self.vertices, bool), np.empty((self.vertices, self.vertices), np.int32)

    def _entries(self, sources: Array) -> Array:
        known, table = self._table
        missing = sources[~known[sources]]
        for start in range(0, len(missing), SOURCES):
            chunk = missing[start : start + SOURCES]
            table[chunk] = self._paths(chunk)
        known[missing] = True
        return table

    def _paths(self, sources: Array) -> Array:
        """Return the arc that enters each vertex, int32 (sources, vertices), by relaxing all arcs until nothing gains.

        An arc is replaced only by a strictly faster way, so that the arcs never form a cycle.
        """
        found = np.full((len(sources), self.vertices), -1, np.int32)
        seconds = np.full(found.shape, np.inf)
        seconds[np.arange(len(sources)), sources] = 0.0
        cost = self.alpha + TYPICAL_BYTES / self.beta[self.channel]
        entered, first, place = np.unique(self.head, return_index=True, return_inverse=True)
        arcs = np.arange(len(self.head), dtype=np.int32)
        while len(arcs):
            reached = seconds[:, self.tail] + cost
            best = np.minimum.reduceat(reached, first, axis=1)
            faster = best < seconds[:, entered]
            if not faster.any():
                break
            arc = np.minimum.reduceat(np.where(reached == best[:, place], arcs, len(arcs)), first, axis=1)
            found[:, entered] = np.where(faster, arc, found[:, entered])
            seconds[:, entered] = np.minimum(best, seconds[:, entered])
        return found


def _channel(link: Link, first: int, last: int, tail: int) -> Hashable:
    """Return what tells channels apart; upwards is from the vertex that the graph lists first."""
    medium = (first, last) if link.shared is None else ("shared", link.shared)
    return medium, None if link.duplex == "half" else tail == first


def _same_medium(link: Link, media: dict[Hashable, Link]) -> None:
    """Check that the connections of a medium agree on what it is."""
    if link.shared is None:
        return
    other = media.setdefault(link.shared, link)
    if (other.beta, other.duplex) != (link.beta, link.duplex):
        raise TopologyError(
            f"Connections that share {link.shared!r} have beta={other.beta:g}, duplex={other.duplex!r} and "
            f"beta={link.beta:g}, duplex={link.duplex!r}.",
            rule="A shared medium has one beta and one duplex.",
            fix="Give all of its connections the same link, or share another name.",
        )
