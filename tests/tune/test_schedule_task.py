"""Schedules tuned by simulation: the space, results, caching, and refusals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.configs.maintenance import outdated
from attncc.configs.store import user_store
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.simulation.selection import parsed, settings_for
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, TopologyError
from attncc.tune import space_files
from attncc.tune.evaluation import MARGIN
from attncc.tune.result import TaskResult
from attncc.tune.schedule_task import DEFAULT, TUNABLES
from attncc.tune.space import Space

STRIDED = attncc.load("strided", l=16)
SMALL: dict[str, Any] = {"topology": "4xrtx4090", "heads": 2, "head_dim": 16, "trials": 12}
COMMAND = [sys.executable, "-c", "from attncc.cli import main; main()"]
ARGUMENTS = ["strided", "-p", "l=16", "--seq-len", "512", "--heads", "2", "--topology", "4xrtx4090"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ATTNCC_CACHE", raising=False)
    return tmp_path


def tuned(length: int = 512, **choices: Any) -> TaskResult:
    (found,) = attncc.autotune(STRIDED, length, **{**SMALL, **choices}).each
    return found


def run(*arguments: str, status: int = 0) -> Any:
    found = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == status, found.stderr
    return json.loads(found.stdout) if status == 0 else found.stderr


def feasible(ranks: int, nodes: int, batch: int, kv_heads: int, length: int) -> tuple[Space, list[dict[str, Any]]]:
    space = space_files.load(TUNABLES, "both").including(DEFAULT)
    inputs = Inputs(batch, 2 * kv_heads, kv_heads, 64, 64, "bf16")
    sizes = ("batch", "heads", "kv_heads", "group", "head_dim", "value_dim", "itemsize")
    facts = {name: getattr(inputs, name) for name in sizes} | {
        "q_len": length,
        "ranks": ranks,
        "nodes": nodes,
        "hypergraph": True,
    }
    found = space.feasible(facts)
    assert space.default in found
    assert all(seed in found for seed in space.seeded(facts))
    return space, found


@pytest.mark.parametrize(
    ("ranks", "nodes", "batch", "kv_heads", "length"),
    [(1, 1, 1, 1, 1), (4, 1, 1, 8, 131072), (6, 1, 2, 3, 5000), (64, 8, 4, 8, 1 << 20), (1024, 128, 1, 8, 1 << 24)],
)
def test_the_shipped_space_is_valid_at_every_size(
    ranks: int, nodes: int, batch: int, kv_heads: int, length: int
) -> None:
    _, found = feasible(ranks, nodes, batch, kv_heads, length)
    assert 1 <= len(found) <= 15_000
    for candidate in found[:: 1 + len(found) // 50]:
        TUNABLES.check(candidate)
        sharing, settings = parsed(candidate, ranks)
        sharing.check(Inputs(batch, kv_heads, kv_heads, 64, 64, "bf16"))
        assert settings.route != "tree" or nodes > 1
    described = [(*sorted(each.items()),) for each in found]
    assert len(set(described)) == len(described)
    assert all(file.title and file.direction is None for file in map(_read, space_files.shipped("distributed")))


def _read(file: Any) -> space_files.SpaceFile:
    return space_files.read(file, TUNABLES)


def test_meshes_divide_ranks_entries_and_heads() -> None:
    meshes = {
        tuple(each[f"mesh.{dim}"] for dim in ("batch", "heads", "spread")) for each in feasible(4, 1, 2, 6, 4096)[1]
    }
    assert meshes == {(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (2, 1, 2), (2, 2, 1)}
    threes = {each["mesh.heads"] * each["mesh.spread"] for each in feasible(6, 1, 1, 6, 4096)[1]}
    assert threes == {1, 2, 3, 6}


def test_results_are_no_worse_than_untuned_choices() -> None:
    found = tuned()
    scenario = Scenario(STRIDED, 512, Inputs(1, 2, 2, 16, 16, "bf16"), Topology.load("4xrtx4090"))
    sharing, settings = parsed(found.entry.config, 4)
    assert found.entry.seconds["best"] == scenario.candidate(settings, sharing).seconds
    assert found.entry.seconds["best"] <= choose(scenario)[0].seconds * MARGIN
    assert found.entry.seconds["default"] == scenario.candidate(*reversed(parsed({}, 4))).seconds
    assert (found.entry.mode, found.entry.key.direction, found.trials_run) == ("modelled", "both", 12)


def test_results_are_remembered_and_used() -> None:
    found, again = tuned(), tuned()
    assert (found.source, again.source, again.trials_run) == ("tuned", "cached", 0)
    assert again.entry == found.entry
    sharing, settings = parsed(found.entry.config, 4)
    topology, inputs = Topology.load("4xrtx4090"), Inputs(1, 2, 2, 16, 16, "bf16")
    selection = settings_for(STRIDED, 512, inputs, [sharing], topology=topology)
    assert (selection.settings, selection.layer) == (settings, "tuned")


def test_no_candidate_is_simulated_twice_and_seeds_reproduce(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: Counter[object] = Counter()
    original = Scenario.candidate

    def counting(self: Scenario, settings: Any, sharing: Any) -> Any:
        seen[settings, sharing] += 1
        return original(self, settings, sharing)

    monkeypatch.setattr(
        "attncc.tune.schedule_task.choose", lambda scenario, sharings, on_step: [original(scenario, *_DEFAULT)]
    )
    monkeypatch.setattr(Scenario, "candidate", counting)
    first = tuned(trials=16)
    assert (len(seen), max(seen.values())) == (16, 1)
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "other"))
    assert [config for config, _ in tuned(trials=16).tried] == [config for config, _ in first.tried]


_DEFAULT = tuple(reversed(parsed({}, 4)))


def test_more_trials_continue_an_earlier_search() -> None:
    tuned()
    assert tuned(trials=15).trials_run == 3


def test_each_direction_has_its_own_key() -> None:
    found = {name: tuned(direction=name) for name in ("fwd", "bwd", "both")}
    assert {each.source for each in found.values()} == {"tuned"}
    assert [each.entry.key.direction for each in found.values()] == ["forward", "backward", "both"]
    seconds = {name: each.entry.seconds["default"] for name, each in found.items()}
    assert seconds["both"] == pytest.approx(seconds["fwd"] + seconds["bwd"])


def test_topologies_of_one_name_have_distinct_keys() -> None:
    tuned()
    assert tuned(ranks=2).source == "tuned"
    assert tuned().source == "cached"


def test_given_meshes_are_kept() -> None:
    found = tuned(mesh=(1, 1, 4))
    assert {(each["mesh.batch"], each["mesh.heads"]) for each, _ in found.tried} == {(1, 1)}
    heads = tuned(mesh=(1, 2, 2))
    assert {(each["mesh.batch"], each["mesh.heads"]) for each, _ in heads.tried} == {(1, 2)}
    assert tuned().source == "tuned"
    assert "2 heads" in heads.plan
    topology, inputs = Topology.load("4xrtx4090"), Inputs(1, 2, 2, 16, 16, "bf16")
    sharings = [Sharing(heads=2, parts=2), Sharing(heads=2, ulysses_degree=2)]
    assert settings_for(STRIDED, 512, inputs, sharings, topology=topology).layer == "tuned"


def test_user_files_restrict_the_space(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[parameters]\npartition = ["block_cyclic"]\nroute = ["direct"]\n"mesh.heads" = [1]\n')
    found = tuned(space=file, mesh=(1, 1, 4), trials=200)
    assert {each["partition"] for each, _ in found.tried} == {"contiguous", "block_cyclic"}
    assert {each["route"] for each, _ in found.tried} == {"direct"}
    assert tuned(mesh=(1, 1, 4)).source == "tuned"
    file.write_text("[parameters]\npartition = ['best']\n")
    with pytest.raises(ConfigError, match="'partition' has 'best'"):
        tuned(space=file, force=True)
    file.write_text("[parameters]\nspread = [2]\n")
    with pytest.raises(ConfigError, match="unknown parameter 'spread'"):
        tuned(space=file, force=True)


def test_topologies_may_come_from_files_or_memory(tmp_path: Path) -> None:
    file = tmp_path / "my own.toml"
    shipped = Path(attncc.__file__).parent / "distributed" / "topology" / "shipped" / "gloo.toml"
    file.write_text(shipped.read_text())
    assert tuned(topology=str(file)).entry.key.target == "my_own"
    assert tuned(topology=Topology.load(str(file))).source == "cached"
    assert tuned(topology=str(file)).entry.key.dtype == "fp32"


def test_invalid_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(TopologyError, match="Unknown topology '4xrtx'"):
        tuned(topology="4xrtx")
    with pytest.raises(TopologyError, match="5 devices"):
        tuned(ranks=5)
    with pytest.raises(TopologyError, match="A mesh of 1x2x4 on the 4 devices"):
        tuned(mesh=(1, 2, 4))
    with pytest.raises(ConfigError, match="2 key heads on 4 ranks"):
        tuned(mesh=(1, 4, 1))
    with pytest.raises(ConfigError, match="no ranks to measure with"):
        tuned(measure=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TopologyError, match="2 ranks on the 4 devices"):
        tuned(measure=True)


def test_killed_runs_resume(cache: Path) -> None:
    arguments = ["tune", *ARGUMENTS, "--trials", "40"]
    killed = [sys.executable, str(Path(__file__).with_name("signalled_cli.py")), "SIGKILL", "3", *arguments]
    assert subprocess.run(killed, capture_output=True).returncode == -signal.SIGKILL
    found = run(*arguments, "--json")
    assert found["trials_run"] == 37
    assert found["mode"] == "modelled"


def test_commands_tune_list_and_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.json"
    found = run("tune", *ARGUMENTS, "--trials", "5", "--json", "--export", str(bundle), "--direction", "fwd")
    assert (found["source"], found["mode"], found["direction"], found["target"]) == (
        *("tuned", "modelled", "fwd", "4xrtx4090"),
    )
    again = run("tune", *ARGUMENTS, "--trials", "5", "--json", "--direction", "fwd")
    assert (again["source"], again["trials_run"]) == ("cached", 0)
    [listed] = run("cache", "list", "--json")["entries"]
    assert (listed["digest"], listed["mode"], listed["config"]) == (found["key"], "modelled", found["config"])
    [shown] = run("cache", "show", found["key"][:8], "--json")["entries"]
    assert shown["about"]["ranks"] == 4
    assert outdated(user_store()) == []
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert run("cache", "import", str(bundle), "--json")["written"] == 1
    assert run("tune", *ARGUMENTS, "--trials", "5", "--json", "--direction", "fwd")["source"] == "cached"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--topology", "gloo", "--target", "h100"], "--target with --topology"),
        (["--topology", "gloo", "--kv-len", "8"], "--kv-len with --topology"),
        (["--topology", "gloo", "--mesh", "4"], "--mesh '4'"),
        (["--measure"], "--measure without --topology"),
        (["--ranks", "2"], "--ranks without --topology"),
    ],
)
def test_meaningless_options_are_refused(arguments: list[str], problem: str) -> None:
    assert problem in run("tune", "causal", *arguments, status=2)


def test_dry_runs_show_the_space() -> None:
    found = run("tune", *ARGUMENTS, "--dry-run", "--json")
    assert set(found) == {"both"}
    assert found["both"]["parameters"].keys() == DEFAULT.keys()
    assert found["both"]["feasible"] > 20
    assert {each["predicted_s"] for each in found["both"]["ranking"]} == {None}
