"""Which settings a pattern runs under: each layer in turn, and what makes a winner one of another case."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest

import attncc
from attncc._util.storage import CacheWarning
from attncc.backends.inputs import Inputs
from attncc.configs.entry import Entry, about
from attncc.configs.environment import Environment
from attncc.configs.store import user_store
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation import pricing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scene import Scene
from attncc.distributed.simulation.selection import described, environment_of, key_of, parsed, settings_for
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, TopologyError
from attncc.planner.directions import BOTH

STRIDED = attncc.load("strided", l=16)
INPUTS = Inputs(2, 4, 4, 16, 16, "fp32")
GLOO = Topology.load("gloo")
ALL = [Sharing(parts=4)]
N = 512


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ATTNCC_CACHE", raising=False)


def save(config: dict[str, object], direction: str = BOTH, mesh: tuple[int, int] | None = None, n: int = N) -> Entry:
    key = key_of(STRIDED, n, INPUTS, GLOO, direction, mesh)
    found = Entry(key, environment_of(GLOO, mesh), config, "modelled", {"best": 1.0}, about=about(STRIDED, n, n))
    assert user_store().save(found)
    return found


def selected(sharings: list[Sharing] = ALL, topology: Topology | None = GLOO, **options: object):
    return settings_for(STRIDED, N, INPUTS, sharings, topology=topology, **options)


def test_what_is_given_comes_first() -> None:
    save({"partition": "zigzag"})
    found = selected(settings=Settings("balanced"))
    assert (found.settings, found.layer) == (Settings("balanced"), "given")


def test_without_a_topology_the_defaults() -> None:
    assert (selected(topology=None).settings, selected(topology=None).layer) == (Settings(), "default")


def test_without_a_winner_the_fastest_in_simulation() -> None:
    found = selected()
    scene = Scene(STRIDED, N, INPUTS, GLOO)
    best = pricing.best(scene, choose(scene, ALL))
    assert (found.settings, found.sharing, found.layer) == (best.settings, best.sharing, "simulated")


def test_a_winner() -> None:
    save({"partition": "zigzag", "stages": 2})
    found = selected()
    assert (found.settings, found.layer) == (Settings("zigzag", stages=2), "tuned")
    assert "modelled" in found.text


def test_a_winner_of_both_directions_before_one_of_the_forward() -> None:
    save({"partition": "zigzag"}, "forward")
    assert selected().settings == Settings("zigzag")
    save({"partition": "balanced"})
    assert selected().settings == Settings("balanced")


def test_a_winner_for_the_mesh_before_one_for_any() -> None:
    save({"partition": "zigzag"})
    save({"partition": "balanced"}, mesh=(1, 1))
    assert selected().settings == Settings("balanced")
    save({"partition": "striped"}, mesh=(1, 2))
    assert selected([Sharing(heads=2, parts=2)]).settings == Settings("striped")


def test_a_winner_of_another_mesh_means_nothing() -> None:
    save({"mesh.heads": 2, "partition": "zigzag"})
    assert selected().layer == "simulated"
    found = selected([Sharing(heads=2, parts=2)])
    assert (found.settings, found.layer) == (Settings("zigzag"), "tuned")


def test_a_winner_that_swaps_sequence_for_heads_where_ranks_can() -> None:
    save({"mesh.spread": 2})
    assert selected().layer == "simulated"
    found = selected([*ALL, Sharing(parts=2, spread=2)])
    assert (found.settings, found.sharing) == (Settings(spread=2), Sharing(parts=2, spread=2))


def test_a_winner_of_another_length_or_topology_means_nothing() -> None:
    save({"partition": "zigzag"}, n=2 * N)
    assert selected().layer == "simulated"
    save({"partition": "zigzag"})
    graph = GLOO.graph.copy()
    nx.set_edge_attributes(graph, 1e-3, "alpha")
    assert selected(topology=Topology.from_graph(graph, name="gloo")).layer == "simulated"


@pytest.mark.parametrize("config", [{"partition": "best"}, {"mesh.heads": 3}, {"stage": 2}, {"mesh.heads": 0}], ids=str)
def test_a_winner_that_says_what_none_says_is_warned_of(config: dict[str, object]) -> None:
    save(config)
    with pytest.warns(CacheWarning, match="is not used"):
        assert selected().layer == "simulated"


def test_the_cache_may_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    save({"partition": "zigzag"})
    monkeypatch.setenv("ATTNCC_CACHE", "off")
    assert selected().layer == "simulated"
    monkeypatch.setenv("ATTNCC_CACHE", "assert")
    assert selected().layer == "tuned"
    with pytest.raises(ConfigError, match="no tuned configuration"):
        settings_for(STRIDED, 4 * N, INPUTS, ALL, topology=GLOO)


def test_ranks_and_devices_are_as_many() -> None:
    with pytest.raises(TopologyError, match="2 ranks on the 4 devices") as raised:
        selected([Sharing(parts=2)])
    assert "subset(2)" in raised.value.fix


def test_a_configuration_says_what_it_was_made_of() -> None:
    for sharing in (Sharing(2, 2, 4, 2), Sharing(parts=32)):
        settings = Settings("zigzag", 64, 2, "tree", 8, sharing.spread)
        assert parsed(described(settings, sharing), 32) == (sharing, settings)
    with pytest.raises(ConfigError, match="A mesh of 1 x 3 x parts x 1 for 4 ranks"):
        parsed({"mesh.heads": 3}, 4)
    with pytest.raises(ConfigError, match="Unknown config key 'spread'"):
        parsed({"spread": 2}, 4)


def test_a_topology_is_known_by_its_devices_and_links() -> None:
    again = Topology.load("gloo")
    assert again.digest == GLOO.digest
    assert replace(again, name="mine", title="Mine").digest == GLOO.digest
    graph = GLOO.graph.copy()
    graph.graph["cores"] = {}
    cpu = next(label for label, facts in graph.nodes(data=True) if facts)
    shared = GLOO.graph.copy()
    shared.nodes[cpu]["share"] = 0.25
    others = [
        GLOO.subset(2),
        GLOO.subset([1, 0, 2, 3]),
        Topology.from_graph(graph, name="gloo"),
        Topology.from_graph(shared, name="gloo"),
    ]
    assert len({GLOO.digest, *(each.digest for each in others)}) == 5


def test_an_environment_of_a_topology_is_outdated_by_code_alone() -> None:
    here = environment_of(GLOO)
    assert not here.is_outdated
    assert replace(here, sources="0" * 32).is_outdated
    assert Environment.parse(here.describe()) == here
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not environment_of(replace(GLOO, name="no name of a file: /")).is_outdated
