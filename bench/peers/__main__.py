"""Other libraries side by side with attncc, on a CPU, in one run:

    python -m bench.peers                        # at most ten minutes on two idle cores; resumes where it was stopped
    python -m bench.peers --lengths 1024 2048 --results /tmp/peers.json --docs /tmp
    python -m bench.peers --fresh                # begins anew

A cell is a contestant at a length: how long it takes to prepare (a mask, a plan), forward, forward and backward, and
how much memory it holds above its inputs. Each is measured in a process of its own, with a time limit and a memory
limit. Where a contestant exceeds one, it isn't tried at greater lengths. Cells are in bench/sweeps/peers.json, with
versions and machine; docs/peers.md and docs/peers.png are written from these.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attncc._util import storage
from attncc._util.machine import machine, versions

from . import page
from .contestants import CONTESTANTS, Contestant

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "sweeps" / "peers.json"
LENGTHS = (4096, 8192, 16384, 32768, 65536)
PACKAGES = ("attncc", "torch", "transformers", "reformer-pytorch", "local-attention", "numpy")


def key(each: Contestant, length: int) -> str:
    """Return what a cell is found by."""
    return f"{each.task}/{each.name}/{length}"


def measure(each: Contestant, length: int, seconds: float, gigabytes: float) -> dict[str, Any]:
    """Return the figures of a cell, or why it was skipped."""
    command = [sys.executable, "-m", "bench.peers.cell", each.task, each.name]
    command += [str(length), str(seconds), str(gigabytes)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"skipped": f"more than {seconds:g} s"}
    if done.returncode < 0:
        return {"skipped": f"ended by signal {-done.returncode}"}
    if done.returncode:
        raise SystemExit(f"{key(each, length)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def kept(path: Path, here: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the cells of a file by their keys, if they are of this machine and of these versions."""
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return known["cells"] if known.get("of") == here else {}


def keep(path: Path, here: dict[str, Any], cells: dict[str, dict[str, Any]]) -> None:
    """Write the cells, a line each."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(cell)}" for name, cell in cells.items())
    storage.save(path, f'{{"of": {json.dumps(here)}, "cells": {{\n{lines}\n}}}}\n'.encode(), "--results")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, metavar="N", help="multiples of 1,024")
    parser.add_argument("--tasks", nargs="+", choices=page.TASKS, default=list(page.TASKS))
    parser.add_argument("--seconds", type=float, default=90.0, help="of a cell, at most")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of addresses of a cell, at most")
    parser.add_argument("--fresh", action="store_true", help="forget what is done")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the folder of the page and its chart")
    options = parser.parse_args(arguments)
    here = {**machine(), "threads": os.environ.get("OMP_NUM_THREADS", "all"), "versions": versions(PACKAGES)}
    cells = {} if options.fresh else kept(options.results, here)
    chosen = [each for each in CONTESTANTS if each.task in options.tasks]
    todo = [(each, n) for n in sorted(options.lengths) for each in chosen if key(each, n) not in cells]
    print(f"{len(chosen) * len(options.lengths) - len(todo)} of {len(chosen) * len(options.lengths)} cells are done")
    began = time.perf_counter()
    for number, (each, length) in enumerate(todo, 1):
        shorter = [n for n in options.lengths if n < length and "skipped" in cells.get(key(each, n), {})]
        if shorter:
            cells[key(each, length)] = {"skipped": f"as at {min(shorter):,}"}
        else:
            cells[key(each, length)] = measure(each, length, options.seconds, options.gigabytes)
        keep(options.results, here, cells)
        said = page.said(cells[key(each, length)])
        print(f"[{number}/{len(todo)}, {time.perf_counter() - began:.0f} s] {key(each, length)}: {said}", flush=True)
    page.write(cells, here, options.docs)


if __name__ == "__main__":
    main()
