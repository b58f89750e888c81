"""The recipe: each option saves what it is for, and those that promise the same numbers keep them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train.py"
TINY = "--json", "--steps", "3", "--context", "256", "--layers", "4", "--width", "64", "-p", "l=16"


def example(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLE), *options], capture_output=True, text=True)


def test_each_part_saves_what_it_is_for() -> None:
    found = example("--compare", *TINY)
    assert found.returncode == 0, found.stderr
    runs = json.loads(found.stdout)["runs"]
    plain = runs["plain"]

    def share(title: str, figure: str) -> float:
        return float(runs[title][figure] / plain[figure])

    assert share("gradient checkpointing", "peak_bytes") < 0.8
    assert share("mixed precision", "peak_bytes") < 0.85
    assert share("4 micro-batches", "peak_bytes") < 0.6
    assert share("these three", "peak_bytes") < 0.35
    for title in ("gradient checkpointing", "4 micro-batches"):
        assert runs[title]["held_out"] == pytest.approx(plain["held_out"], abs=1e-3)
    assert runs["mixed precision"]["held_out"] == pytest.approx(plain["held_out"], abs=0.05)
    for title in ("tied layers", "distilled into 2 layers"):
        assert share(title, "parameters") < 0.6
        assert share(title, "stored_bytes") < 0.6
    assert share("90% pruned", "stored_bytes") < 0.4
    assert runs["90% pruned"]["parameters"] == plain["parameters"]


def test_more_micro_batches_than_windows_are_refused() -> None:
    found = example("--micro-batches", "5", "--batch", "4")
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
