"""The generated source of six patterns, as files to be read: `pytest tests/backends/triton/test_golden.py --golden`
writes them again after an intended change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.triton.config import KernelConfig
from attncc.backends.triton.defaults import ANY
from attncc.backends.triton.launch import HeadShape
from attncc.backends.triton.lower import Lowering
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.backends.triton.modules import render

FOLDER = Path(__file__).parent / "golden"
LENGTH = 1024


@attncc.pattern
def bigbird(i, j, *, chosen: attncc.Table):
    """Blocks of 64: neighbours, global ones, and some that a table names (Zaheer et al. 2020)."""
    return (abs(i // 64 - j // 64) <= 1) | (j < 64) | (chosen[i // 64, j // 64] == 1)


@attncc.score
def softcap(score, *, cap: float):
    return cap * attncc.tanh(score / cap)


PATTERNS = {
    "causal": attncc.load("causal"),
    "window": attncc.load("sliding_window", window=256),
    "strided": attncc.load("strided", l=128),
    "fixed": attncc.load("fixed", l=128, c=8),
    "document": attncc.load("document", ids=np.arange(LENGTH) // 100).causal(),
    "bigbird": bigbird(chosen=np.eye(16, dtype=np.int64)[::-1]),
}
SCORES = {"causal": softcap(cap=50.0).expression}


def sources(name: str) -> dict[str, str]:
    """Return the kernels' modules by file name."""
    lowering = Lowering(HeadShape(64, 64, 2, 1), KernelConfig.default(ANY, 64, 2), 132, SCORES.get(name))
    lowered = LoweredPlan(attncc.plan(PATTERNS[name], LENGTH), lowering, 1, 8, 8, torch.device("cpu"))
    found = {}
    for phase in (lowered.forward, *lowered.gradients):
        for number, launch in enumerate(phase.launches):
            assert launch.spec.role == "whole"
            found[f"{name}_{number}_{launch.spec.kernel}.py"] = render(launch.spec)
    return found


@pytest.mark.parametrize("name", PATTERNS)
def test_generated_source_equals_the_golden_files(name: str, request: pytest.FixtureRequest) -> None:
    wanted = sources(name)
    if request.config.getoption("--golden"):
        FOLDER.mkdir(exist_ok=True)
        for path in FOLDER.glob(f"{name}_*.py"):
            path.unlink()
        for file, text in wanted.items():
            (FOLDER / file).write_text(text, encoding="utf-8")
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob(f"{name}_*.py")}
    assert there == wanted
