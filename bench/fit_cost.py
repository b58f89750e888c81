"""Fits the costs of the torch backend, attncc/targets/cpu.toml, to configurations measured on this machine.

`python bench/fit_cost.py measure FILE` appends measurements to FILE, a line of JSON each; `python bench/fit_cost.py fit
FILE` prints the [library] table, and how well it ranks the configurations of every case.

The time taken is what the first of the threads computes for, so that other processes on the machine hardly matter; for
that to leave out its waiting for the other threads, set OMP_WAIT_POLICY=passive.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from cost_cases import INPUTS, Case, Inputs, drawn, planned, timed

from attncc.backends.torch.config import Config
from attncc.backends.torch.cost import KINDS, counts
from attncc.planner.directions import DIRECTIONS

SHARED = Inputs(batch=1, heads=8, kv_heads=2, head_dim=128, value_dim=128, dtype="fp32")
SMALL = Inputs(batch=2, heads=4, kv_heads=4, head_dim=32, value_dim=32, dtype="fp32")
#: Sizes of caches that are tried, in bytes.
CACHES = tuple(float(1 << bits) for bits in range(20, 27))


@dataclass(frozen=True)
class Measurement:
    """Seconds of the runs of one configuration of a case."""

    case: Case
    config: dict[str, object]
    seconds: list[float]

    def counts(self, cache: float) -> list[float]:
        """Return what the model counts, by the order of KINDS."""
        plan, rest = planned(self.case, self.config)
        items = getattr(Config.of(rest), self.case.direction)
        found = counts(plan, self.case.inputs, self.case.direction, items, cache)
        return [getattr(found, kind) for kind in KINDS]


@dataclass(frozen=True)
class Fit:
    """Costs by the order of KINDS, the times that they predict, and the mean of the squared relative errors."""

    costs: np.ndarray
    predicted: np.ndarray
    error: float


def cases() -> Iterator[Case]:
    several = ["strided l=128", "256-window", "fixed", "bigbird", "document", "dilated", "causal"]
    for length in (4096, 16384):
        for direction in DIRECTIONS:
            yield from (Case(name, length, direction) for name in several)
    for inputs in (SHARED, SMALL):
        for direction in DIRECTIONS:
            yield from (Case(name, 4096, direction, inputs) for name in several[:3])


def measure(file: Path) -> None:
    """Append the measurements of all cases."""
    for number, case in enumerate(cases()):
        configs = drawn(case, 24 if case.inputs == INPUTS else 10, number)
        with file.open("a", encoding="utf-8") as out:
            for config, taken in timed(case, configs, 10.0, time.thread_time):
                out.write(json.dumps({"case": asdict(case), "config": config, "seconds": taken}) + "\n")
        print(case.pattern, case.length, case.direction, flush=True)


def read(file: Path) -> list[Measurement]:
    """Return the measurements in a file."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        case = Case(**row["case"] | {"inputs": Inputs(**row["case"]["inputs"])})
        found.append(Measurement(case, row["config"], row["seconds"]))
    return found


def fit(measured: list[Measurement], cache: float) -> Fit:
    """Return the costs with the least relative errors."""
    seconds = np.array([min(each.seconds) for each in measured])
    counted = np.array([each.counts(cache) for each in measured])
    costs = non_negative(counted / seconds[:, None], np.ones(len(seconds)))
    predicted = counted @ costs
    return Fit(costs, predicted, float(np.mean((predicted / seconds - 1) ** 2)))


def non_negative(a: np.ndarray, b: np.ndarray, sweeps: int = 5000) -> np.ndarray:
    """Return x >= 0 that minimises |a x - b|, one coordinate after the other."""
    size = np.linalg.norm(a, axis=0)
    size[size == 0] = 1
    gram, target = (a / size).T @ (a / size), (a / size).T @ b
    x = np.zeros(len(target))
    for _ in range(sweeps):
        for k in np.flatnonzero(np.diag(gram)):
            x[k] = max(0.0, x[k] + (target[k] - gram[k] @ x) / gram[k, k])
    return x / size


def spearman(a: list[float], b: list[float]) -> float:
    """Return Spearman's rank correlation, nan where all values of a side are equal; ties share their mean rank."""
    ranks = [_ranks(values) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(np.ptp(each) for each in ranks) else float("nan")


def _ranks(values: list[float]) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def report(file: Path) -> None:
    """Print the table, and below it the correlation of every case."""
    measured = {way: [each for each in read(file) if each.case.direction == way] for way in DIRECTIONS}
    fits = {cache: [fit(each, cache) for each in measured.values()] for cache in CACHES}
    best = min(CACHES, key=lambda cache: sum(each.error for each in fits[cache]))
    print(f"[library]\ncache = {best:.0f}")
    for direction, found in zip(measured, fits[best], strict=True):
        print(f"\n[library.{direction}]  # root of the mean squared relative error {found.error**0.5:.0%}")
        print("\n".join(f"{kind} = {cost:.2g}" for kind, cost in zip(KINDS, found.costs, strict=True)))
        _compare(measured[direction], found.predicted)


def _compare(measured: list[Measurement], predicted: np.ndarray) -> None:
    by_case: dict[Case, list[tuple[float, float]]] = {}
    for each, time_predicted in zip(measured, predicted, strict=True):
        by_case.setdefault(each.case, []).append((float(time_predicted), statistics.median(each.seconds)))
    for case, pairs in by_case.items():
        expected, seen = (list(each) for each in zip(*pairs, strict=True))
        error = statistics.median(abs(p / m - 1) for p, m in pairs)
        chosen, default = seen[int(np.argmin(expected))] / min(seen), seen[0] / min(seen)
        sizes = f"H={case.inputs.heads}/{case.inputs.kv_heads} D={case.inputs.head_dim}"
        print(
            f"# {case.pattern:14} {case.length:6} {sizes}: rank {spearman(expected, seen):.2f} of {len(pairs)},",
            end=" ",
        )
        print(f"error {error:.0%}, first choice {chosen:.2f} x the best, default {default:.2f} x the best")


if __name__ == "__main__":
    {"measure": measure, "fit": report}[sys.argv[1]](Path(sys.argv[2]))
