"""A pattern beside dense attention on one machine: time, memory and error."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attncc import backends
from attncc._util.machine import machine, versions
from attncc.frontend.patterns import Pattern
from attncc.measure.accuracy import accuracy
from attncc.measure.memory import peak
from attncc.measure.timing import Timing, elapsed, take_turns
from attncc.measure.workload import Workload
from attncc.planner.dense import is_as_fast
from attncc.planner.plan import Plan
from attncc.proof import causality
from attncc.runtime.api import AttentionModule, compile

Attend = Callable[[Tensor, Tensor, Tensor], Any]
OURS, DENSE = "attncc", "dense"


@dataclass(frozen=True)
class Comparison:
    """A comparison: timings by contestant and phase, bytes above the inputs, errors against the oracle."""

    workload: Workload
    backend: str
    plan: Plan
    plan_seconds: float
    baseline: str
    timings: dict[str, dict[str, Timing]]
    memory: dict[str, int]
    errors: dict[str, float]

    def speedup(self, phase: str) -> float | None:
        """Return dense time over attncc's, or None if dense attention didn't run."""
        if DENSE not in self.timings:
            return None
        return self.timings[DENSE][phase].median / self.timings[OURS][phase].median

    def describe(self) -> dict[str, object]:
        """Return the comparison as JSON-able data; times in seconds, memory in bytes."""
        return {
            "pattern": repr(self.plan.pattern),
            "key": self.plan.pattern.key,
            "workload": asdict(self.workload),
            "backend": self.backend,
            "edges": self.plan.nnz,
            "density": self.plan.density,
            "plan_s": self.plan_seconds,
            "dense_baseline": self.baseline,
            "timings": {who: {p: t.describe() for p, t in phases.items()} for who, phases in self.timings.items()},
            "speedup": {phase: self.speedup(phase) for phase in self.timings[OURS]},
            "dense_is_as_fast": {phase: is_as_fast(self.speedup(phase)) for phase in self.timings[OURS]},
            "plans": [group.alternatives[0].name for group in self.plan.groups],
            "peak_memory_bytes": self.memory,
            "largest_error": self.errors,
            "machine": machine(),
            "versions": versions(("attncc", "torch", "triton")),
        }


@dataclass(frozen=True)
class Contestants:
    """attncc and, unless it is left out, dense attention on the same inputs.

    Attributes:
        calls: By name; each runs forward and backward once, and returns the seconds of each phase.
        tensors: Query, key, value and the output's gradient.
        baseline: "causal" or "full", what dense attention computes: the former where no query sees a later key.
    """

    ours: AttentionModule
    calls: Mapping[str, Callable[[], dict[str, float]]]
    tensors: Sequence[Tensor]
    backend: str
    plan_seconds: float
    baseline: str

    @classmethod
    def of(cls, pattern: Pattern, workload: Workload, backend: str | None, *, dense: bool) -> Contestants:
        """Plan a pattern for a workload, and draw its inputs."""
        shape = workload.shape
        begin = time.perf_counter()
        ours = compile(
            pattern, shape.q_len, heads=shape.heads, batch=shape.batch, enable_gqa=workload.grouped, backend=backend
        )
        plan_seconds = time.perf_counter() - begin
        causal = bool(causality.prove(pattern, shape).holds)
        runs: dict[str, Attend] = {OURS: ours}
        if dense:
            runs[DENSE] = partial(scaled_dot_product_attention, is_causal=causal, enable_gqa=workload.grouped)
        tensors = workload.tensors()
        calls = {name: partial(_step, run, *tensors) for name, run in runs.items()}
        ran = backend or backends.preferred(tensors[0].device)[0]
        return cls(ours, calls, tensors, ran, plan_seconds, "causal" if causal else "full")

    @property
    def plan(self) -> Plan:
        """The plan that runs on these inputs."""
        query, key, value, _ = self.tensors
        return self.ours.planned(query, key, value)


def steps(*, dense: bool, rounds: int) -> int:
    """Return how many steps `compare` announces: planning, warm-up, the error, and the contestants' calls."""
    return 3 + (1 + rounds) * (1 + dense)


def compare(
    pattern: Pattern,
    workload: Workload,
    *,
    backend: str | None = None,
    dense: bool = True,
    rounds: int = 3,
    on_step: Callable[[str], None] = lambda step: None,
) -> Comparison:
    """Plan and run `pattern`, forward and backward, beside dense attention (unless `dense` is False).

    Dense attention is causal where the pattern sees no future key, which halves its work, and full otherwise.
    `on_step` gets the name of each step before it begins; `steps` says how many there are.
    """
    on_step("planning")
    found = Contestants.of(pattern, workload, backend, dense=dense)
    query, key, value, _ = found.tensors
    on_step("warm-up")
    found.calls[OURS]()
    memory = _peaks(found.calls, query.device, on_step)
    timings = take_turns(found.calls, rounds, on_step)
    on_step("error against float64")
    errors = accuracy(found.ours, query, key, value, pattern, workload.shape, workload.seed).errors
    return Comparison(workload, found.backend, found.plan, found.plan_seconds, found.baseline, timings, memory, errors)


def _peaks(
    calls: Mapping[str, Callable[[], object]], device: torch.device, on_step: Callable[[str], None]
) -> dict[str, int]:
    """Return the peak memory of each contestant, bytes."""
    peaks = {}
    for name, call in calls.items():
        on_step(f"memory of {name}")
        peaks[name] = peak(call, device)
    return peaks


def _step(run: Attend, query: Tensor, key: Tensor, value: Tensor, grad: Tensor) -> dict[str, float]:
    """Run forward and backward once; return the seconds of each phase."""
    inputs = [x.detach().requires_grad_() for x in (query, key, value)]
    outputs: list[Tensor] = []
    forward = elapsed(lambda: outputs.append(run(*inputs)), query.device)
    backward = elapsed(lambda: torch.autograd.grad(outputs[0], inputs, grad), query.device)
    return {"forward": forward, "backward": backward, "forward + backward": forward + backward}
