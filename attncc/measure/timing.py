"""Timings: contestants take turns, so that other work of the machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls of one contestant."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the fastest and the slowest call, as a fraction of the median."""
        return (max(self.samples) - min(self.samples)) / 2 / self.median

    def describe(self) -> dict[str, object]:
        """Return the timing as JSON-able data."""
        return {"median_s": self.median, "spread": self.spread, "samples_s": list(self.samples)}


def elapsed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes: on an accelerator, from when it comes to it until it has done it all.

    What is queued on an accelerator before hides what the host takes to launch the call.
    """
    if device.type == "cuda":
        return _on_gpu(call, device)
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _on_gpu(call: Callable[[], object], device: torch.device) -> float:
    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        call()
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def take_turns(
    contestants: Mapping[str, Callable[[], Mapping[str, float]]],
    rounds: int,
    on_call: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[str, Timing]]:
    """Call every contestant once in each round; each returns its seconds by phase.

    `on_call` gets the name of each contestant before its call. Returns timings by contestant and phase.
    """
    samples: dict[str, list[Mapping[str, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            on_call(name)
            samples[name].append(call())
    return {
        name: {phase: Timing(tuple(sample[phase] for sample in taken)) for phase in taken[0]}
        for name, taken in samples.items()
    }
