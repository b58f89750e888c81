"""Topology files: the shipped ones, names and templates, and invalid files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from attncc import targets
from attncc.distributed.topology import Topology
from attncc.distributed.topology import file as topology_file
from attncc.errors import TopologyError

SMALL = """
title = "two nodes of two"

[links.fast]
alpha = 1e-6
beta = 1e11

[links.slow]
alpha = 1e-5
beta = 1e10

[links.bus]
alpha = 0.0
beta = 2e10
duplex = "half"
shared = true

[[nodes]]
count = 2
devices = { name = "gpu", count = 2, target = "h100" }
switches = { slot = 2, host = 1 }
connections = [["gpu", "slot", "slow"], ["slot", "host", "bus"], ["gpu", "gpu", "fast"], ["host", "fabric", "slow"]]

[switches]
fabric = 1
"""


def test_shipped_topologies_load() -> None:
    found = {name: Topology.load(name) for name in Topology.names()}
    assert {name: topology.count for name, topology in found.items()} == {
        "1024xh100": 1024,
        "4xrtx4090": 4,
        "64xh100": 64,
        "8xh100": 8,
        "gloo": 4,
    }
    for name, topology in found.items():
        assert topology.name == name
        assert topology.title
        assert set(topology.targets) <= set(targets.names())
    assert found["1024xh100"].node.tolist() == np.repeat(np.arange(128), 8).tolist()
    assert found["gloo"].cores == {0: 2.0}
    assert [name for name, topology in found.items() if topology.is_synchronous] == ["gloo"]


def test_shipped_topologies_cite_the_source_of_each_figure() -> None:
    folder = Path(topology_file.__file__).parent / "shipped"
    for file in folder.glob("*.toml"):
        for block in file.read_text("utf-8").split("\n\n"):
            if block.startswith("[links") or "alpha" in block:
                assert "#" in block, f"{file.name}: {block}"


def test_templates_expand_to_numbered_names() -> None:
    topology = Topology.parse(SMALL, name="small")
    assert topology.title == "two nodes of two"
    assert [device.label for device in topology.devices] == ["node0/gpu0", "node0/gpu1", "node1/gpu0", "node1/gpu1"]
    graph = topology.graph
    assert set(graph["node1/slot1"]) == {"node1/gpu1", "node1/host"}  # one for one
    assert set(graph["node0/host"]) == {"node0/slot0", "node0/slot1", "fabric"}  # one for all
    assert graph.has_edge("node1/gpu0", "node1/gpu1")  # a group with itself
    assert not graph.has_edge("node0/gpu0", "node1/gpu0")
    media = {graph.edges["node0/slot0", "node0/host"]["shared"], graph.edges["node1/slot0", "node1/host"]["shared"]}
    assert len(media) == 2  # a bus for each node


def test_single_members_are_named_by_number() -> None:
    text = SMALL.replace('["gpu", "gpu", "fast"]', '["gpu1", "host", "fast"]')
    assert Topology.parse(text, name="small").graph.has_edge("node1/gpu1", "node1/host")


def test_load_reads_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL, "utf-8")
    assert Topology.load(path).digest == Topology.load(str(path)).digest
    topology = Topology.load(str(path))
    assert (topology.name, topology.count) == ("mine", 4)
    with pytest.raises(TopologyError, match="Can't read"):
        Topology.load(str(tmp_path / "none.toml"))
    with pytest.raises(TopologyError, match=r"Can't read .*null (byte|character)"):
        Topology.load("none\0.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TopologyError, match="Can't read"):
        Topology.load(str(path))


def test_load_suggests_the_nearest_name() -> None:
    with pytest.raises(TopologyError, match=r"(?s)Unknown topology '8xh10'.*Did you mean '8xh100'"):
        Topology.load("8xh10")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"gpu", "gpu", "fast"', '"gpu", "gpu", "fats"', "(?s)unknown link 'fats'.*Did you mean 'fast'"),
        ('"host", "fabric", "slow"', '"host", "fabrik", "slow"', "(?s)unknown node 'fabrik'.*Did you mean 'fabric'"),
        ('target = "h100"', 'target = "h1000"', "(?s)target = 'h1000'.*Did you mean 'h100'"),
        (', target = "h100"', "", "target = ''"),
        ("beta = 1e11", "beta = 0", "link 'fast'.*beta = 0"),
        ("beta = 1e11", "", "no beta"),
        ("alpha = 1e-5", "alpha = -1", "link 'slow'.*alpha = -1"),
        ("shared = true", 'shared = "yes"', "shared = 'yes'"),
        ('duplex = "half"', 'duplex = "halb"', "(?s)duplex = 'halb'.*Did you mean 'half'"),
        (', ["host", "fabric", "slow"]', "", "no way from"),
        ("count = 2\n", "counts = 2\n", "(?s)unknown key 'counts'.*Did you mean 'count'"),
        ("count = 2\n", "count = 0\n", "count = 0"),
        ("count = 2\n", "count = 2.0\n", "count = 2.0"),
        ("count = 2\n", "count = 4000\n", "more than 8192 vertices"),
        ("count = 2,", "count = 100000,", "gpu = 100000"),
        ("slot = 2", "slot = 3", "between 2 and 3 vertices"),
        ("slot = 2", "gpu = 2", "two vertices called 'node0/gpu0'"),
        ('["gpu", "gpu", "fast"]', '["gpu", "gpu"]', "three names"),
        ('["gpu", "gpu", "fast"]', '["gpu", "gpu", "fast"], ["gpu0", "gpu1", "slow"]', "connected twice"),
        ('["gpu", "gpu", "fast"]', '["host", "host", "fast"]', "(?s)'node0/host' with itself.*two different"),
        ("[switches]", "[switch]", "unknown key 'switch'"),
        ("title =", "titel =", "unknown key 'titel'"),
        ("title =", 'rounds = "synchronos"\ntitle =', "(?s)rounds = 'synchronos'.*Did you mean 'synchronous'"),
        ("title =", "rounds = true\ntitle =", "rounds = True"),
        ('title = "two nodes of two"', "title = 2", "title = 2"),
        ("fabric = 1", "fabric = true", "fabric = True"),
        ("[[nodes]]", "[nodes]", "This is a list"),
        ("[[nodes]]", "[[nodes]", "not valid TOML"),
    ],
)
def test_invalid_files_are_refused(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(TopologyError, match=message):
        Topology.parse(SMALL.replace(old, new, 1), name="small")


def test_a_file_without_nodes_is_refused() -> None:
    with pytest.raises(TopologyError, match=r"0 vertices"):
        Topology.parse("", name="empty")


def test_too_many_links_are_refused_before_any_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"s{k}" for k in range(40)]
    switches, connections = ", ".join(f"{name} = 1" for name in names), ", ".join(f'["gpu", "{s}", "a"]' for s in names)
    text = (
        '[links.a]\nalpha = 1e-6\nbeta = 1e9\n[[nodes]]\ndevices = { name = "gpu", count = 4000, target = "h100" }\n'
        f"switches = {{ {switches} }}\nconnections = [{connections}]\n"
    )
    made = []
    monkeypatch.setattr(topology_file.nx.Graph, "add_edge", lambda self, *ends, **facts: made.append(ends))
    with pytest.raises(TopologyError, match=r"more than 131,072 links"):
        Topology.parse(text, name="dense")
    assert len(made) <= topology_file.MOST_LINKS


def test_huge_files_and_pipes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (topology_file.MOST_BYTES + 1))
    with pytest.raises(TopologyError, match="at most 1,048,576"):
        Topology.load(str(path))
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    with pytest.raises(TopologyError, match="a regular file"):
        Topology.load(str(pipe))
