"""The settings of a pattern: each layer in turn, and when tuned settings apply."""

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
from attncc.distributed.simulation.scenario import Scenario
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


def test_given_settings_come_first() -> None:
    save({"partition": "zigzag"})
    found = selected(settings=Settings("balanced"))
    assert (found.settings, found.layer) == (Settings("balanced"), "given")


def test_defaults_apply_without_a_topology() -> None:
    assert (selected(topology=None).settings, selected(topology=None).layer) == (Settings(), "default")


def test_the_fastest_in_simulation_applies_without_tuning() -> None:
    found = selected()
    scenario = Scenario(STRIDED, N, INPUTS, GLOO)
    best = pricing.best(scenario, choose(scenario, ALL))
    assert (found.settings, found.sharing, found.layer) == (best.settings, best.sharing, "simulated")


def test_tuned_settings_apply() -> None:
    save({"partition": "zigzag", "stages": 2})
    found = selected()
    assert (found.settings, found.layer) == (Settings("zigzag", stages=2), "tuned")
    assert "modelled" in found.text


def test_settings_tuned_for_both_directions_come_before_forward_only() -> None:
    save({"partition": "zigzag"}, "forward")
    assert selected().settings == Settings("zigzag")
    save({"partition": "balanced"})
    assert selected().settings == Settings("balanced")


def test_settings_tuned_for_the_mesh_come_first() -> None:
    save({"partition": "zigzag"})
    save({"partition": "balanced"}, mesh=(1, 1))
    assert selected().settings == Settings("balanced")
    save({"partition": "striped"}, mesh=(1, 2))
    assert selected([Sharing(heads=2, parts=2)]).settings == Settings("cyclic")


def test_settings_tuned_for_another_mesh_are_ignored() -> None:
    save({"mesh.heads": 2, "partition": "zigzag"})
    assert selected().layer == "simulated"
    found = selected([Sharing(heads=2, parts=2)])
    assert (found.settings, found.layer) == (Settings("zigzag"), "tuned")


def test_tuned_ulysses_applies_where_ranks_allow_it() -> None:
    save({"mesh.spread": 2})
    assert selected().layer == "simulated"
    found = selected([*ALL, Sharing(parts=2, ulysses_degree=2)])
    assert (found.settings, found.sharing) == (Settings(spread=2), Sharing(parts=2, ulysses_degree=2))


def test_settings_tuned_for_another_length_or_topology_are_ignored() -> None:
    save({"partition": "zigzag"}, n=2 * N)
    assert selected().layer == "simulated"
    save({"partition": "zigzag"})
    graph = GLOO.graph.copy()
    nx.set_edge_attributes(graph, 1e-3, "alpha")
    assert selected(topology=Topology.from_graph(graph, name="gloo")).layer == "simulated"


@pytest.mark.parametrize("config", [{"partition": "best"}, {"mesh.heads": 3}, {"stage": 2}, {"mesh.heads": 0}], ids=str)
def test_invalid_tuned_settings_warn(config: dict[str, object]) -> None:
    save(config)
    with pytest.warns(CacheWarning, match="is not used"):
        assert selected().layer == "simulated"


def test_cache_modes_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    save({"partition": "zigzag"})
    monkeypatch.setenv("ATTNCC_CACHE", "off")
    assert selected().layer == "simulated"
    monkeypatch.setenv("ATTNCC_CACHE", "assert")
    assert selected().layer == "tuned"
    with pytest.raises(ConfigError, match="no tuned configuration"):
        settings_for(STRIDED, 4 * N, INPUTS, ALL, topology=GLOO)


def test_ranks_must_equal_devices() -> None:
    with pytest.raises(TopologyError, match="2 ranks on the 4 devices") as raised:
        selected([Sharing(parts=2)])
    assert "subset(2)" in raised.value.fix


def test_configurations_round_trip() -> None:
    for sharing in (Sharing(2, 2, 4, 2), Sharing(parts=32)):
        settings = Settings("zigzag", 64, 2, "tree", 8, sharing.ulysses_degree)
        assert parsed(described(settings, sharing), 32) == (sharing, settings)
    with pytest.raises(ConfigError, match="A mesh of 1 x 3 x parts x 1 for 4 ranks"):
        parsed({"mesh.heads": 3}, 4)
    with pytest.raises(ConfigError, match="Unknown config key 'spread'"):
        parsed({"spread": 2}, 4)


def test_digests_depend_on_devices_and_links_only() -> None:
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


def test_only_code_makes_environments_of_topologies_outdated() -> None:
    here = environment_of(GLOO)
    assert not here.is_outdated
    assert replace(here, sources="0" * 32).is_outdated
    assert Environment.parse(here.describe()) == here
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not environment_of(replace(GLOO, name="no name of a file: /")).is_outdated
