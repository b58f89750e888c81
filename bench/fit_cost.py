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
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from cost_cases import INPUTS, Case, Inputs, drawn, planned, timed

from attncc.backends.torch.config import Config
from attncc.backends.torch.cost import counts, price
from attncc.targets import Library

NAMES = [each.name for each in fields(Library)]
SHARED = Inputs(batch=1, heads=8, kv_heads=2, head_dim=128, value_dim=128, dtype="fp32")
SMALL = Inputs(batch=2, heads=4, kv_heads=4, head_dim=32, value_dim=32, dtype="fp32")
Row = dict[str, Any]


def cases() -> Iterator[Case]:
    several = ["strided l=128", "256-window", "fixed", "bigbird", "document", "dilated", "causal"]
    for length in (4096, 16384):
        for direction in ("forward", "backward"):
            yield from (Case(name, length, direction) for name in several)
    for inputs in (SHARED, SMALL):
        for direction in ("forward", "backward"):
            yield from (Case(name, 4096, direction, inputs) for name in several[:3])


def measure(file: Path) -> None:
    """Append the measurements of all cases."""
    with file.open("a", encoding="utf-8") as out:
        for number, case in enumerate(cases()):
            count = 24 if case.inputs == INPUTS else 10
            for config, taken in timed(case, drawn(case, count, number), 10.0, time.thread_time):
                row = {"case": asdict(case), "config": config, "seconds": taken}
                out.write(json.dumps(row) + "\n")
            out.flush()
            print(case.pattern, case.length, case.direction, flush=True)


def predictors(row: Row) -> np.ndarray:
    """Return what the model counts for a measurement, by the order of NAMES."""
    case = Case(**row["case"] | {"inputs": Inputs(**row["case"]["inputs"])})
    plan, rest = planned(case, row["config"])
    items = getattr(Config.of(rest), case.direction)
    found = counts(plan, case.inputs, case.direction, items)
    return np.array([getattr(found, name) for name in NAMES])


def non_negative(a: np.ndarray, b: np.ndarray, sweeps: int = 20000) -> np.ndarray:
    """Return x >= 0 that minimises |a x - b|, one coordinate after the other."""
    size = np.linalg.norm(a, axis=0)
    size[size == 0] = 1
    gram, target = (a / size).T @ (a / size), (a / size).T @ b
    x = np.zeros(len(target))
    for _ in range(sweeps):
        for k in np.flatnonzero(np.diag(gram)):
            x[k] = max(0.0, x[k] + (target[k] - gram[k] @ x) / gram[k, k])
    return x / size


def fitted(rows: list[Row]) -> Library:
    """Return the costs with the least relative errors."""
    measured = np.array([min(row["seconds"]) for row in rows])
    found = np.array([row["counts"] for row in rows]) / measured[:, None]
    return Library(**dict(zip(NAMES, non_negative(found, np.ones(len(rows))), strict=True)))


def spearman(a: list[float], b: list[float]) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: list[float]) -> np.ndarray:
    distinct, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def fit(file: Path) -> None:
    """Print the table, and the correlation of every case."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["counts"] = predictors(row)
    for direction in ("forward", "backward"):
        chosen = [row for row in rows if row["case"]["direction"] == direction]
        costs = fitted(chosen)
        print(f"\n[library.{direction}]")
        print("\n".join(f"{name} = {getattr(costs, name):.2g}" for name in NAMES))
        _compare(chosen, costs)


def _compare(rows: list[Row], costs: Library) -> None:
    by_case: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        case, sizes = row["case"], row["case"]["inputs"]
        name = f"{case['pattern']:14} {case['length']:6} H={sizes['heads']}/{sizes['kv_heads']} D={sizes['head_dim']}"
        predicted = price(Library(*row["counts"]), costs)
        by_case.setdefault(name, []).append((predicted, statistics.median(row["seconds"])))
    for name, pairs in by_case.items():
        predicted, measured = (list(each) for each in zip(*pairs, strict=True))
        error = statistics.median(abs(p / m - 1) for p, m in pairs)
        best = measured[int(np.argmin(predicted))] / min(measured)
        gain = measured[0] / min(measured)
        print(f"# {name}: rank {spearman(predicted, measured):.2f} of {len(pairs)}, error {error:.0%},", end=" ")
        print(f"first choice {best:.2f} x the best, best {gain:.2f} x the default")


if __name__ == "__main__":
    {"measure": measure, "fit": fit}[sys.argv[1]](Path(sys.argv[2]))
