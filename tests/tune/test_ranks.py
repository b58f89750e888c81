"""Schedules measured by two gloo processes under torchrun: results, and the end of the world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.configs.store import user_store
from attncc.distributed.schedules.sharing import possible_sharings
from attncc.distributed.simulation.selection import settings_for
from attncc.distributed.topology import Topology

PROGRAM = "from attncc.cli import main\nmain()\n"
ARGUMENTS = ["tune", "strided", "-p", "l=16", "--seq-len", "256", "--heads", "4", "--kv-heads", "2", "--head-dim", "16"]
SPACE = """
parameters = { partition = ["contiguous", "zigzag", "cyclic"], stages = [1, 2], route = ["direct"], unit = [0] }
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def run(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    """Run the command on two ranks; return stdout and stderr of all of them."""
    program, space = folder / "program.py", folder / "space.toml"
    program.write_text(PROGRAM)
    space.write_text(SPACE)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    topology = ["--topology", "gloo", "--ranks", "2", "--mesh", "1x1x2", "--space", str(space), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [*start, *ARGUMENTS, *topology, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=200,
    )
    assert (found.returncode == 0) == (status == 0), found.stderr
    return found.stdout, found.stderr


@pytest.mark.parametrize("direction", ["both", "fwd", "bwd"])
def test_the_best_simulated_schedules_are_measured(cache: Path, direction: str) -> None:
    found: dict[str, Any] = json.loads(run(cache, "--measure", "--trials", "3", "--direction", direction)[0])
    assert (found["mode"], found["source"], found["trials_run"]) == ("measured", "tuned", 3)
    assert found["directions"][0]["failed_trials"] == {}
    samples = found["directions"][0]["samples"]
    assert all(len(each) >= 3 and min(each) > 0 for each in samples.values())
    [entry] = user_store().entries()
    assert (entry.mode, entry.trials, entry.key.digest) == ("measured", 3, found["key"])
    [measured] = cache.glob("cache/tuned/*/trials/*-measured.jsonl")
    [simulated] = cache.glob("cache/tuned/*/trials/*-modelled.jsonl")
    assert _told(simulated) > _told(measured) == 3
    if direction != "both":
        return
    again: dict[str, Any] = json.loads(run(cache, "--measure", "--trials", "3")[0])
    assert (again["source"], again["trials_run"], again["config"]) == ("cached", 0, found["config"])
    topology, inputs = Topology.load("gloo").subset(2), Inputs(1, 4, 2, 16, 16, "fp32")
    selection = settings_for(attncc.load("strided", l=16), 256, inputs, possible_sharings(2, 2), topology=topology)
    assert selection.layer == "tuned"
    assert "measured" in selection.text


def _told(log: Path) -> int:
    """Return the number of finished trials in a log."""
    return log.read_text().count('"samples"')


def test_all_ranks_end_if_rank_0_fails(cache: Path) -> None:
    said = run(cache, "--measure", "--storage", "nowhere", status=1)[1]
    assert "--storage 'nowhere'" in said
    assert "Rank 0 could not tune" in said


def test_other_numbers_of_ranks_are_refused(cache: Path) -> None:
    said = run(cache, "--measure", "--ranks", "3", "--mesh", "1x1x3", status=1)[1]
    assert "2 ranks on the 3 devices" in said
