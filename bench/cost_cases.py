"""Configurations of the torch backend, drawn and measured: for fit_cost.py and test_cost_model.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import compiled
import numpy as np
import torch
from torch import Tensor

import attncc
from attncc import backends
from attncc.backends.base import Executable, Saved
from attncc.backends.inputs import Inputs
from attncc.ir.score import IDENTITY
from attncc.planner.options import separated
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape

TORCH = backends.get("torch")
Clock = Callable[[], float]
INPUTS = Inputs(batch=1, heads=8, kv_heads=8, head_dim=64, value_dim=64, dtype="fp32")
VALUES: Mapping[str, tuple[object, ...]] = {
    "plan": ("cheapest", "cheapest", "split", "split", "mixed", "fused", "dense"),
    "tile_m": (32, 64, 128),
    "tile_n": (32, 64, 128),
    "query_tile": (16, 32, 64, 128, 256),
    "key_multiple": (8, 16, 32, 64),
    "segment": (8, 16, 32, 64),
    "core": (256, 512, 1024, 2048, 4096),
    "chunk": tuple(1 << bits for bits in range(18, 25)),
}


@dataclass(frozen=True)
class Case:
    """A pattern (its name here), at a length, in a direction, on such inputs."""

    pattern: str
    length: int
    direction: str
    inputs: Inputs = INPUTS


@cache
def patterns(length: int) -> dict[str, attncc.Pattern]:
    """Return the patterns of bench/compiled.py and a dilated window."""
    return compiled.patterns(length) | {"dilated": attncc.load("dilated_window", window=256, dilation=2)}


def drawn(case: Case, count: int, seed: int = 0) -> list[dict[str, object]]:
    """Return the default configuration, which is empty, and `count - 1` that differ in what they run."""
    random = np.random.default_rng(seed)
    found: dict[str, dict[str, object]] = {"": {}}
    while len(found) < count:
        values = {name: several[random.integers(len(several))] for name, several in VALUES.items()}
        config = {f"{case.direction}.{name}": value for name, value in values.items()}
        found[str(config)] = config
    return list(found.values())


def planned(case: Case, config: Mapping[str, object]) -> tuple[Plan, dict[str, object]]:
    """Return the plan that a configuration asks for, and what is left of it for the backend."""
    choice, rest = separated(config, case.direction)
    shape = Shape(case.length, case.length, 0, 1, 1)
    return plan_for(patterns(case.length)[case.pattern], shape, choice.tile(TORCH.tile), "cpu").preferring(
        choice.plan
    ), rest


class Stand:
    """Tensors of a case, on which configurations are timed."""

    def __init__(self, case: Case) -> None:
        self.case = case
        sizes = case.inputs
        generator = torch.Generator().manual_seed(0)

        def random(heads: int, size: int) -> Tensor:
            return torch.randn(sizes.batch, heads, case.length, size, generator=generator)

        self.query, self.key = random(sizes.heads, sizes.head_dim), random(sizes.kv_heads, sizes.head_dim)
        self.value, self.grad = random(sizes.kv_heads, sizes.value_dim), random(sizes.heads, sizes.value_dim)
        self.scale = sizes.head_dim**-0.5
        given = (self.query, self.key, self.value, ())
        self.saved = Saved(*given, *self.executable({}).forward(*given, self.scale))

    def executable(self, config: Mapping[str, object]) -> Executable:
        plan, rest = planned(self.case, config)
        return TORCH.lower(plan, IDENTITY, rest)

    def call(self, config: Mapping[str, object], clock: Clock) -> Callable[[], float]:
        """Return a call that runs a configuration once and returns its seconds."""
        found = self.executable(config)

        def run() -> float:
            begin = clock()
            if self.case.direction == "forward":
                found.forward(self.query, self.key, self.value, (), self.scale)
            else:
                found.backward(self.saved, self.grad, None, self.scale, False)
            return clock() - begin

        return run


def timed(
    case: Case, configs: list[dict[str, object]], limit: float, clock: Clock = time.perf_counter
) -> Iterator[tuple[dict[str, object], list[float]]]:
    """Yield configurations with the seconds of their runs: warmed up, then in turns for `limit` seconds or 9 rounds.

    As many configurations are taken as warm up within the same time.
    """
    stand, begin = Stand(case), time.perf_counter()
    calls: list[tuple[dict[str, object], Callable[[], float]]] = []
    for config in configs:
        call = stand.call(config, clock)
        call()
        calls.append((config, call))
        if time.perf_counter() - begin > limit:
            break
    begin = time.perf_counter()
    samples: list[list[float]] = [[] for _ in calls]
    while len(samples[0]) < 9 and (not samples[0] or time.perf_counter() - begin < limit):
        for (_, call), taken in zip(calls, samples, strict=True):
            taken.append(call())
    yield from ((config, taken) for (config, _), taken in zip(calls, samples, strict=True))
