"""The example trains, and sparse and dense attention give the same curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "bytes_lm.py"
SMALL = "--json", "--steps", "20", "--context", "300", "-p", "l=16"


def example(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLE), *options], capture_output=True, text=True)


def curve(*options: str) -> list[float]:
    found = example(*SMALL, *options)
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    step, held_out = result["held_out"][-1]
    assert step == 20
    assert held_out < 9
    return list(result["train"])


def test_sparse_and_dense_curves_agree() -> None:
    sparse, dense = curve(), curve("--dense")
    assert max(abs(a - b) for a, b in zip(sparse, dense, strict=True)) < 1e-3
    assert sparse[-1] < sparse[0]


def test_mistakes_are_reported_without_a_traceback() -> None:
    unknown = example("--pattern", "strode")
    assert unknown.returncode == 1
    assert "strided" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    assert example("--width", "100", "--heads", "3").returncode == 2
