"""The example trains, and sparse and dense attention give the same curve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "bytes_lm.py"


def curve(*options: str) -> list[float]:
    command = [sys.executable, str(EXAMPLE), "--json", "--steps", "4", "--context", "300", "--stride", "16", *options]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(found.stdout)
    assert result["held_out"] < 9
    return list(result["train"])


def test_sparse_and_dense_curves_agree() -> None:
    sparse, dense = curve(), curve("--dense")
    assert max(abs(a - b) for a, b in zip(sparse, dense, strict=True)) < 1e-3
    assert sparse[-1] < sparse[0]
