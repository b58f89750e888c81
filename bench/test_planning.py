"""Cold planning of a million tokens and more, and compared with FlexAttention's create_block_mask."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from attncc.measure.timing import Timing, elapsed

MILLION = 1 << 20
ROUNDS = 5
LABELS = {
    "strided": "strided l=1024",
    "fixed": "fixed l=1024 c=16",
    "causal": "causal",
    "document": "1,000 causal documents",
}
MASK_MODS: dict[str, Callable[..., torch.Tensor]] = {
    "window": lambda b, h, q, k: (k <= q) & (q - k < 256),
    "strided": lambda b, h, q, k: (k <= q) & ((q - k <= 1024) | ((q - k) % 1024 == 0)),
}


def cold(name: str, length: int) -> dict[str, float]:
    """Plan in a fresh process; see cold_plan.py."""
    script = Path(__file__).with_name("cold_plan.py")
    found = subprocess.run([sys.executable, script, name, str(length)], capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(found.stdout)
    return result


def measured(benchmark, name: str, length: int) -> dict[str, Timing]:
    runs: list[dict[str, float]] = []
    benchmark.pedantic(lambda: runs.append(cold(name, length)), rounds=ROUNDS)
    return {key: Timing(tuple(run[key] for run in runs)) for key in runs[0]}


def test_window_over_a_million_tokens_is_planned_in_milliseconds(benchmark, bar) -> None:
    found = measured(benchmark, "window", MILLION)
    what = "plan 256-window, N = 1,048,576, cold: passes, tiles and edge count"
    bar(what, 1e3 * found["all_s"].median, "at most 100 ms", f"{found['all_s'].spread:.0%}")
    tiles_ms = 1e3 * (found["plan_s"].median + found["tiles_s"].median)
    bar("the same, passes and tiles", tiles_ms, "at most 30 ms", f"{found['plan_s'].spread:.0%}")
    bar("the same, peak memory", found["peak_bytes"].median / 1e6, "at most 100 MB")


@pytest.mark.parametrize("name", LABELS)
def test_patterns_over_a_million_tokens_are_planned_in_milliseconds(benchmark, bar, name: str) -> None:
    taken = measured(benchmark, name, MILLION)["all_s"]
    what = f"plan {LABELS[name]}, N = 1,048,576, cold"
    bar(what, 1e3 * taken.median, "at most 250 ms", f"{taken.spread:.0%}")


def test_window_over_eight_million_tokens_is_planned_in_milliseconds(benchmark, bar) -> None:
    taken = measured(benchmark, "window", 8 * MILLION)["all_s"]
    bar("plan 256-window, N = 8,388,608, cold", 1e3 * taken.median, "at most 400 ms", f"{taken.spread:.0%}")


@pytest.mark.parametrize("name", MASK_MODS)
def test_planning_is_faster_than_create_block_mask(benchmark, bar, name: str) -> None:
    length, cpu = 16384, torch.device("cpu")
    theirs: list[float] = []
    ours: list[float] = []

    def block_mask() -> None:
        create_block_mask(MASK_MODS[name], None, None, length, length, device="cpu", BLOCK_SIZE=128)

    def planned() -> None:
        found = cold(name, length)
        ours.append(found["plan_s"] + found["tiles_s"])

    benchmark.pedantic(planned, setup=lambda: theirs.append(elapsed(block_mask, cpu)), rounds=3)
    spread = f"{Timing(tuple(ours)).spread:.0%}, {Timing(tuple(theirs)).spread:.0%}"
    what = f"plan {name}, N = 16,384, tiles of 128, against create_block_mask"
    bar(what, statistics.median(theirs) / statistics.median(ours), "at least 200 x", spread)
