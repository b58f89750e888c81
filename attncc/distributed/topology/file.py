"""Topology files: nodes, switches and links in TOML, with templates that stand for many nodes.

    title = "..."
    rounds = "..."               # for whom ranks wait in a round, see Topology
    [links.NAME]                 # a kind of link, see network.Link; shared = true makes one medium of all its
    alpha, beta, duplex, shared  # connections in a node
    [[nodes]]                    # `count` nodes of this form, in rank order
    count, cores                 # cores: how many of its devices can compute at full speed at once
    devices = { name, count, target, share }
    switches = { NAME = how many }
    connections = [[FROM, TO, LINK]]
    [switches]                   # outside of nodes; top-level `connections` are between these
    NAME = how many

A name in a connection is a group (gpu: all of them) or one of it (gpu3), of the node or outside. One is connected with
each of the others, as many as each other one for one, and a group named twice each with each.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx

from attncc._util.storage import read
from attncc.distributed.topology.checks import array, count, fail, table, text, unknown_keys
from attncc.distributed.topology.network import MOST_LINKS, MOST_VERTICES, Link
from attncc.errors import ConfigError, TopologyError, nearest

_SMALLER = "Describe a part of the machine."
KEYS = ("title", "rounds", "links", "switches", "nodes", "connections")
NODE_KEYS = ("count", "devices", "switches", "cores", "connections")
DEVICE_KEYS = ("name", "count", "target", "share")
#: Bytes of a file that are read; the shipped ones, whose templates stand for many nodes, have a few hundred.
MOST_BYTES = 1 << 20
_FOLDER = resources.files("attncc.distributed.topology").joinpath("shipped")


class Described(NamedTuple):
    """What a file says: a graph as Topology.from_graph takes it, with its name and title."""

    name: str
    title: str
    graph: nx.Graph


@cache
def names() -> tuple[str, ...]:
    """Return the names of the shipped topologies."""
    files = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load(name_or_path: str | PathLike[str]) -> Described:
    """Return what a shipped file of this name says, or that of a path that ends in .toml; raises TopologyError."""
    name_or_path = str(name_or_path)
    if not name_or_path.endswith(".toml"):
        if name_or_path not in names():
            raise TopologyError(
                f"Unknown topology {name_or_path!r}.",
                rule=f"A topology is one of {', '.join(names())}, or a path that ends in .toml.",
                fix=nearest(name_or_path, names()),
            )
        file = _FOLDER.joinpath(f"{name_or_path}.toml")
        return parse(file.read_text("utf-8"), name=name_or_path)
    path = Path(name_or_path)
    try:
        content = read(path, MOST_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:  # also a name with a NUL, which no file has
        said = error.strerror if isinstance(error, OSError) else error
        raise TopologyError(
            f"Can't read topology {name_or_path!r}: {said}.",
            rule="It is the name of a shipped topology, or a TOML file.",
            fix="See `attncc topologies` for the names.",
        ) from error
    except ConfigError as error:
        raise TopologyError(error.problem, rule=error.rule, fix=error.fix) from error
    return parse(content, name=path.stem)


def parse(content: str, *, name: str) -> Described:
    """Return what a TOML text says; raises TopologyError for what isn't a graph of nodes and links."""
    where = f"topology {name!r}"
    try:
        facts = tomllib.loads(content)
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, and nesting without an end
        fail(where, f"not valid TOML ({error})", "A topology is a TOML file.", f"See {_FOLDER} for examples.")
    unknown_keys(where, facts, KEYS)
    title = text(where, "title", facts.get("title", name))
    return Described(name, title, _Builder(where, _links(where, facts)).build(facts))


def _links(where: str, facts: Mapping[str, Any]) -> dict[str, Link]:
    """Return each kind of link, checked even if no connection uses it."""
    links = {}
    for kind, entry in table(f"{where}, links", facts.get("links", {})).items():
        place = f"{where}, link {kind!r}"
        links[kind] = Link.of(place, table(place, entry))
        if not isinstance(entry.get("shared", False), bool):
            fail(
                place, f"shared = {entry['shared']!r}", "shared is true or false.", "Write one of them, without quotes."
            )
    return links


#: Labels of the vertices that a name stands for.
Scope = dict[str, tuple[str, ...]]


@dataclass
class _Builder:
    """A graph that grows node by node; links: the kinds of the file; made: the number of links so far."""

    where: str
    links: Mapping[str, Link]
    graph: nx.Graph = field(default_factory=lambda: nx.Graph(cores={}))
    made: int = 0

    def build(self, facts: Mapping[str, Any]) -> nx.Graph:
        """Return the graph of a whole file: devices first, node by node, then switches; then connections."""
        if "rounds" in facts:
            self.graph.graph["rounds"] = facts["rounds"]
        nodes = list(self._nodes(facts))
        scopes = [(prefix, node, self._devices(prefix, node)) for prefix, node in nodes]
        top = self._switches(self.where, "", facts)
        for prefix, node, scope in scopes:
            local = self._switches(f"{self.where}, a node", prefix, node)
            self._connect(f"{self.where}, a node", prefix, node, top | scope | local)
        self._connect(self.where, "", facts, top)
        return self.graph

    def _nodes(self, facts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each node's prefix and its template."""
        number = itertools.count()
        for entry in array(f"{self.where}, nodes", facts.get("nodes", [])):
            place = f"{self.where}, a node"
            node = table(place, entry)
            unknown_keys(place, node, NODE_KEYS)
            for _ in range(count(place, "count", node.get("count", 1), MOST_VERTICES)):
                yield f"node{next(number)}", node

    def _devices(self, prefix: str, node: Mapping[str, Any]) -> Scope:
        place = f"{self.where}, the devices of a node"
        facts = table(place, node.get("devices", {}))
        unknown_keys(place, facts, DEVICE_KEYS)
        name = text(place, "name", facts.get("name", "device"))
        labels = self._labels(place, f"{prefix}/", name, facts.get("count", 1))
        known = {key: facts[key] for key in ("target", "share") if key in facts}
        self.graph.add_nodes_from(labels, node=prefix, **({"target": ""} | known))
        if "cores" in node:
            self.graph.graph["cores"][prefix] = node["cores"]
        return {name: labels}

    def _switches(self, where: str, prefix: str, facts: Mapping[str, Any]) -> Scope:
        place = f"{where}, switches"
        scope = {}
        for name, number in table(place, facts.get("switches", {})).items():
            scope[name] = self._labels(place, f"{prefix}/" if prefix else "", name, number)
            self.graph.add_nodes_from(scope[name])
        return scope

    def _labels(self, where: str, prefix: str, name: str, number: object) -> tuple[str, ...]:
        """Return labels that are new to the graph, while there is room."""
        known = count(where, name, number, MOST_VERTICES)
        labels = (f"{prefix}{name}",) if known == 1 else tuple(f"{prefix}{name}{k}" for k in range(known))
        if len(self.graph) + known > MOST_VERTICES:
            fail(
                self.where,
                f"more than {MOST_VERTICES} vertices",
                "That is the most that devices and switches may be together.",
                _SMALLER,
            )
        taken = [label for label in labels if label in self.graph]
        if taken:
            fail(where, f"two vertices called {taken[0]!r}", "Names are used once.", "Rename one.")
        return labels

    def _reserve(self, links: int) -> None:
        """Refuse links beyond what a topology may have, before they are made."""
        self.made += links
        if self.made > MOST_LINKS:
            rule, fix = f"Links are at most {MOST_LINKS:,}.", "Connect groups through switches."
            fail(self.where, f"more than {MOST_LINKS:,} links", rule, fix)

    def _connect(self, where: str, prefix: str, facts: Mapping[str, Any], scope: Scope) -> None:
        """Add connections [from, to, kind of link]; links of a shared kind are one medium in each node."""
        place, known = f"{where}, connections", _named(scope)
        for entry in array(place, facts.get("connections", [])):
            if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(name, str) for name in entry):
                rule, fix = "A connection is [from, to, link], three names.", 'For example ["gpu", "switch", "nvlink"].'
                fail(place, repr(entry), rule, fix)
            first, last, kind = entry
            if kind not in self.links:
                fail(
                    place,
                    f"unknown link {kind!r} in {entry!r}",
                    "Links are named in [links].",
                    nearest(kind, self.links),
                )
            ends = [_found(place, name, known) for name in (first, last)]
            link = asdict(self.links[kind])
            medium = (prefix, kind) if link["shared"] else None
            pairs = _pairs(place, entry, *ends)
            self._reserve(len(pairs))
            for a, b in pairs:
                if self.graph.has_edge(a, b):
                    rule, fix = "Two vertices have one link.", "Leave one of the connections out."
                    fail(place, f"{a!r} and {b!r} are connected twice by {entry!r}", rule, fix)
                self.graph.add_edge(a, b, **(link | {"shared": medium}))


def _named(scope: Scope) -> Scope:
    """Return what names in connections stand for: a whole group such as gpu, or one of it such as gpu3."""
    return {label.rpartition("/")[2]: (label,) for labels in scope.values() for label in labels} | scope


def _found(where: str, name: str, known: Scope) -> tuple[str, ...]:
    if name not in known:
        fail(where, f"unknown node {name!r}", "A connection is between devices and switches.", nearest(name, known))
    return known[name]


def _pairs(where: str, entry: list[str], a: tuple[str, ...], b: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return what a connection connects: one with each, each with its counterpart, or a group with itself."""
    if a == b and len(a) == 1:
        rule, fix = "A link connects two different vertices.", "Name another vertex, or leave the connection out."
        fail(where, f"{entry!r} connects {a[0]!r} with itself", rule, fix)
    if a == b:
        number = len(a) * (len(a) - 1) // 2
        pairs = list(itertools.combinations(a, 2)) if number <= MOST_LINKS else []
    elif len(a) == 1 or len(b) == 1:
        pairs = list(itertools.product(a, b))
    else:
        pairs = list(zip(a, b, strict=True)) if len(a) == len(b) else []
    if not pairs:
        fail(
            where,
            f"{entry!r} is between {len(a)} and {len(b)} vertices",
            f"Ends have as many as each other, or one of them is one; links are at most {MOST_LINKS}.",
            "Name one vertex, or groups of one size; connect large groups through switches.",
        )
    return pairs
