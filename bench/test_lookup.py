"""The time that a warm lookup of a tuned configuration adds to attention()."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

import attncc
from attncc.backends.inputs import Inputs
from attncc.configs.entry import Entry, about
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.configs.lookup import looked_up
from attncc.configs.store import user_store
from attncc.measure.timing import Timing
from attncc.planner.shape import Shape
from attncc.runtime.call import AttentionCall
from attncc.runtime.executables import executable_for

ROUNDS = 7
CALLS = 2000
PATTERN = attncc.load("strided", l=128)
CONFIG = {"forward.plan": "fused", "forward.query_tile": 64}


@pytest.fixture
def tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Query, key and value, and a cache of a thousand entries in which theirs is."""
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    query = torch.randn(1, 8, 4096, 64)
    environment, seconds = Environment.of("torch", "cpu"), {"best": 1.0, "default": 2.0}
    for batch in range(1, 1001):
        inputs = Inputs(batch, 8, 8, 64, 64, "fp32")
        key = Key.of(PATTERN, "", Shape(4096, 4096), inputs, "forward", "torch", "cpu")
        entry = Entry(key, environment, CONFIG, "measured", seconds, about=about(PATTERN, 4096, 4096))
        path = user_store().path(environment, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content())
    time.sleep(0.1)  # a younger folder is read again: it may change within one tick of its clock
    return [query, query, query]


def _per_call(tensors: list[torch.Tensor], config: str) -> float:
    call = AttentionCall(PATTERN.handle, "", 0, "torch", config)
    begin = time.perf_counter()
    for _ in range(CALLS):
        executable_for(*tensors, "forward", call)
    return (time.perf_counter() - begin) / CALLS


def test_warm_lookup_takes_microseconds(benchmark, bar, tensors) -> None:
    inputs = Inputs(1, 8, 8, 64, 64, "fp32")
    assert looked_up(PATTERN, "", Shape(4096, 4096), inputs, "forward", "torch", "cpu").source == "exact"
    samples: list[float] = []

    def run() -> None:
        samples.append((_per_call(tensors, "") - _per_call(tensors, "{}")) * 1e6)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    taken = Timing(tuple(samples[1:]))
    bar(
        "attention() look-up, warm: beyond a call that names its config",
        taken.median,
        "at most 50 us",
        f"{taken.spread:.0%}",
    )
