"""The example agrees with one process, resumes from checkpoints, and survives a killed process under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
SMALL = ["--json", "--context", "200", "--width", "32", "--heads", "2", "-p", "l=16"]
LIMIT = 280.0
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *map(str, command)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=LIMIT)


def curves(*command: object) -> tuple[list[float], list[float]]:
    """Return the losses of training, and of the text held out."""
    found = run(*command, *SMALL)
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    return result["train"], [bits for _, bits in result["held_out"]]


def assert_alike(found: tuple[list[float], ...], wanted: tuple[list[float], ...]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_losses_agree_with_one_process(processes: int) -> None:
    alone = curves(EXAMPLES / "bytes_lm.py", "--steps", "2", "--batch", "2")
    assert_alike(
        curves(EXAMPLES / "distributed_lm.py", "--processes", processes, "--steps", "2", "--batch", "2"), alone
    )


@pytest.mark.slow
def test_runs_resume_from_their_own_checkpoint_only(tmp_path: Path) -> None:
    options = EXAMPLES / "distributed_lm.py", "--every", "1", "--checkpoint", tmp_path / "lm.pt", "--steps", "3"
    first = curves(*options)
    assert_alike(curves(*options), first)  # nothing is left to do
    other = run(*options, *SMALL, "--seed", "1")
    assert other.returncode == 1
    assert "another run" in other.stderr


@pytest.mark.slow
def test_torchrun_restarts_after_a_killed_process(tmp_path: Path) -> None:
    alone = curves(EXAMPLES / "bytes_lm.py", "--steps", "6")
    options = "--steps", "6", "--every", "2", "--checkpoint", tmp_path / "lm.pt"
    found = curves(*TORCHRUN, "--max-restarts", "2", HERE / "dying_lm.py", *options)
    assert_alike(found, alone)


@pytest.mark.slow
def test_a_killed_process_leaves_a_checkpoint(tmp_path: Path) -> None:
    options = "--steps", "6", "--every", "2", "--checkpoint", tmp_path / "lm.pt"
    found = run(*TORCHRUN, HERE / "dying_lm.py", *options, *SMALL)
    assert found.returncode == 1
    assert not found.stdout
    assert (tmp_path / "lm.pt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["lm.pt"]


def test_mistakes_are_reported_before_any_process_starts() -> None:
    unknown = run(EXAMPLES / "distributed_lm.py", "--pattern", "strode")
    assert unknown.returncode == 1
    assert "strided" in unknown.stderr
    assert "Traceback" not in unknown.stderr
