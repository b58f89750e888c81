"""`attncc tune` with a score, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "from attncc.cli import main; main()"


def run(cache: Path, *arguments: str, status: int = 0) -> str:
    environ = os.environ | {"ATTNCC_CACHE_DIR": str(cache), "COLUMNS": "200"}
    command = [sys.executable, "-c", PROGRAM, "tune", "causal", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert found.returncode == status, found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout + found.stderr


def test_a_score_of_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import attncc\n@attncc.score\ndef halved(score, *, by: float):\n    return score / by\n", encoding="utf-8"
    )
    asked = ["--score", f"{mine}:halved", "--score-param", "by=2", "--seq-len", "128", "--heads", "2"]
    found = json.loads(run(tmp_path, *asked, "--trials", "1", "--direction", "fwd", "--json"))
    assert (found["score"], found["source"], found["trials_run"]) == ("halved(by=2.0)", "tuned", 1)
    assert "causal() under halved(by=2.0)" in run(tmp_path, *asked, "--trials", "1", "--direction", "fwd")


def test_schedules_take_no_score(tmp_path: Path) -> None:
    assert "--score with --topology" in run(tmp_path, "--score", "alibi", "--topology", "8xh100", status=2)
