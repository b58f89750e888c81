"""`attncc tune` with a score, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = "from attncc.cli import main; main()"
SIGNALLED = Path(__file__).parents[1] / "tune" / "signalled_cli.py"


def run(cache: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    """Return stdout and stderr."""
    environ = os.environ | {"ATTNCC_CACHE_DIR": str(cache), "COLUMNS": "200"}
    command = [sys.executable, "-c", PROGRAM, "tune", "causal", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert found.returncode == status, found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout, found.stderr


def test_tune_accepts_a_score_from_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import attncc\n@attncc.score\ndef halved(score, *, by: float):\n    return score / by\n", encoding="utf-8"
    )
    asked = ["--score", f"{mine}:halved", "--score-param", "by=2", "--seq-len", "128", "--heads", "2"]
    stdout, stderr = run(tmp_path, *asked, "--trials", "1", "--direction", "fwd", "--json")
    assert "forward: " in stderr  # progress and the lines of each direction are not part of the object
    found = json.loads(stdout)
    assert (found["score"], found["source"], found["trials_run"]) == ("halved(by=2.0)", "tuned", 1)
    assert "causal() under halved(by=2.0)" in run(tmp_path, *asked, "--trials", "1", "--direction", "fwd")[0]


def test_score_with_topology_is_refused(tmp_path: Path) -> None:
    assert "--score with --topology" in run(tmp_path, "--score", "alibi", "--topology", "8xh100", status=2)[1]


def test_ctrl_c_ends_tuning_with_a_result(tmp_path: Path) -> None:
    arguments = ["strided", "-p", "l=16", "--seq-len", "512", "--heads", "2", "--trials", "190", "--json"]
    command = [sys.executable, str(SIGNALLED), "SIGINT", "1", "tune", *arguments]
    environ = os.environ | {"ATTNCC_CACHE_DIR": str(tmp_path)}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert process.returncode == 128 + signal.SIGINT
    found = json.loads(process.stdout)
    assert found["cancelled"]
    assert "It was stopped after the forward" in found["answer"]
    (forward,) = found["directions"]
    assert (forward["direction"], forward["ended"]) == ("fwd", "cancelled")
    assert forward["trials"] == 1
    assert len(list(tmp_path.glob("tuned/*/winners/*.json"))) == 1
