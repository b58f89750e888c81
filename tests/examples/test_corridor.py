"""The corridor is a gymnasium environment, and only an agent with a memory learns the way."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")

EXAMPLE = Path(__file__).parents[2] / "examples" / "corridor.py"


def test_an_agent_with_a_memory_learns_and_one_without_does_not() -> None:
    options = "--json", "--length", "12", "--memory", "16", "--updates", "40", "--batch", "32", "--seeds", "1"
    found = subprocess.run([sys.executable, str(EXAMPLE), *options], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    success = json.loads(found.stdout)["success"]
    assert success["16"][0] > 0.95
    assert 0.35 < success["0"][0] < 0.65


def test_the_corridor_keeps_gymnasiums_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    from gymnasium.utils.env_checker import check_env

    monkeypatch.syspath_prepend(EXAMPLE.parent)
    corridor = importlib.import_module("corridor")
    check_env(corridor.Corridor(length=3), skip_render_check=True)
    environment = corridor.Corridor(length=3)
    cue, _ = environment.reset(seed=0)
    steps = [environment.step(cue) for _ in range(5)]
    assert [seen for seen, *_ in steps] == [2, 2, 2, 3, 3]
    assert [reward for _, reward, *_ in steps] == [0, 0, 0, 0, 1]
    assert [ended for _, _, ended, *_ in steps] == [False] * 4 + [True]
