"""Tokens per second and memory of a training step: each model in a process of its own, on a machine at rest."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attncc._util.machine import machine, threads, versions

from .applications import Application
from .cells import Cell
from .model import made
from .training import Learner

#: Steps that are timed, after one that isn't.
STEPS = 3


def measured(cell: Cell, application: Application) -> dict[str, Any]:
    """Return what a few steps of a model take; call it in a fresh process, whose memory it reports."""
    family = application.families[cell.family]
    models = made(application.shape, family, [cell.context], application.places, cell.seed)
    learner = Learner(models, application.pace, cell.seed)
    rows, seconds = application.pace.shared[0].tokens // cell.context, []
    before = _peak()
    for _ in range(STEPS + 1):
        begin = time.perf_counter()
        learner.step(application.drawn(cell.context, rows, learner.draw))
        seconds.append(time.perf_counter() - begin)
    timed = seconds[1:]
    return {
        **asdict(cell),
        "tokens_per_second": round(rows * cell.context / statistics.median(timed)),
        "spread": round((max(timed) - min(timed)) / 2 / statistics.median(timed), 3),
        "megabytes": round((_peak() - before) / 1e6),
        "machine": {**machine(), **versions(["attncc", "torch"]), "threads": threads()},
    }


def measure_apart(cell: Cell) -> dict[str, Any]:
    """Return the same of a fresh process; raises CalledProcessError if it dies, of lack of memory for one."""
    command = [sys.executable, "-m", __package__, "time", cell.application, cell.family, str(cell.context)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    found: Mapping[str, Any] = json.loads(answer.stdout)
    return dict(found)


def _peak() -> float:
    """Return the most memory that this process has held so far, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) * (1 if sys.platform == "darwin" else 1024)
