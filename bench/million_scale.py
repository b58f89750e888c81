"""Every family of the catalogue at 131,072 and 1,048,576 tokens on each shipped topology, by simulation:

    python bench/million_scale.py                             # minutes on two cores; resumes where it was stopped
    python bench/million_scale.py --topologies 8xh100 --patterns strided causal
    python bench/million_scale.py --fresh                     # begins anew

A cell is a pattern, a length and a topology. It has the schedule that attncc chooses, forward and backward, and beside
it vanilla, flash, ring, striped ring, Ulysses, USP and all-gather. Finished cells are in
bench/sweeps/million_scale.json; cells of other code are done again. docs/million_scale.md and its chart are written
from these.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import catalogue
import dense
import million_page
from catalogue import Entry, entries
from dense import flash_seconds, gathered, vanilla_seconds

import attncc
from attncc import targets
from attncc._util import storage
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing, possible_sharings
from attncc.distributed.simulation.baselines import Baseline
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.simulation.selection import environment_of
from attncc.distributed.simulation.simulate import BACKWARD
from attncc.distributed.topology import Topology
from attncc.planner.directions import DIRECTIONS
from attncc.visualization.schedule_report import Report, exchange, report

RESULTS = Path(__file__).parent / "sweeps" / "million_scale.json"
LENGTHS = (131_072, 1_048_576)
TOPOLOGIES = ("gloo", "4xrtx4090", "8xh100", "64xh100", "1024xh100")
#: A layer of Llama 3 8B on GPUs, and a small one on processes of a CPU.
LARGE = Inputs(batch=1, heads=32, kv_heads=8, head_dim=128, value_dim=128, dtype="bf16")
SMALL = Inputs(batch=1, heads=8, kv_heads=8, head_dim=64, value_dim=64, dtype="fp32")
#: Ranks up to which every Ulysses degree is tried, and from which the greatest alone; between them the two extremes.
FEW, MANY = 8, 1024


@dataclass(frozen=True)
class Cell:
    """A pattern, by its name in the catalogue, at a length on a topology."""

    pattern: str
    length: int
    topology: str

    @property
    def key(self) -> str:
        """What its row is found by."""
        return f"{self.topology}/{self.length}/{self.pattern}"


def cells(patterns: Sequence[str], lengths: Sequence[int], topologies: Sequence[str]) -> list[Cell]:
    """Return the cells, the quick ones first."""
    return [Cell(p, n, topology) for topology in topologies for n in lengths for p in patterns]


def inputs_on(topology: str) -> Inputs:
    """Return the sizes of query, key and value on a topology."""
    return SMALL if topology == "gloo" else LARGE


def code(topology: str) -> str:
    """Return a hash of the topology, of the patterns, and of the code that plans and simulates."""
    own = b"".join(Path(each).read_bytes() for each in (catalogue.__file__, dense.__file__))
    return hashlib.sha256(own + environment_of(Topology.load(topology)).digest.encode()).hexdigest()[:16]


def row(cell: Cell) -> dict[str, Any]:
    """Return the figures of a cell as plain data; times in seconds, sizes in bytes."""
    began = time.perf_counter()
    entry = _entry(cell.pattern)
    topology, inputs = Topology.load(cell.topology), inputs_on(cell.topology)
    scenario = Scenario(_pattern(cell.pattern, cell.length), cell.length, inputs, topology, DIRECTIONS)
    found = report(scenario, _sharings(topology, inputs))
    causal = scenario.plan.dense.causal
    edges = _edges(cell.pattern, cell.length)
    return {
        "family": entry.family,
        "parameters": entry.says,
        **asdict(cell),
        "code": code(cell.topology),
        "edges": edges,
        "density": edges / cell.length**2,
        "causal": causal,
        "chosen": found.settings(found.best),
        "exchange": exchange(found.best),
        "strategies": {"attncc": _chosen(found)} | dict(_others(found, causal=causal)),
        "one_device": _alone(found, causal=causal),
        "took_s": round(time.perf_counter() - began, 2),
    }


def _chosen(found: Report) -> dict[str, Any]:
    ways = {way: found.best.timelines[way].seconds for way in DIRECTIONS}
    return {**ways, "busiest": {way: int(found.traffic[way].received.max()) for way in DIRECTIONS}}


def _others(found: Report, *, causal: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and figures of each other strategy; seconds are None where it isn't possible."""
    by_name: dict[str, dict[str, Baseline]] = {}
    for way in DIRECTIONS:
        blocks = found.scenario.blocks(way)
        all_pairs = [gathered(blocks, name, causal=causal) for name in ("vanilla", "flash")]
        for each in (*all_pairs, *found.baselines[way]):
            by_name.setdefault(each.name, {})[way] = each
    for name, ways in by_name.items():
        seconds = {way: each.timeline and each.timeline.seconds for way, each in ways.items()}
        busiest = {way: int(each.received.max()) for way, each in ways.items()}
        yield name, {**seconds, "busiest": busiest, "note": {way: each.note for way, each in ways.items()}}


def _alone(found: Report, *, causal: bool) -> dict[str, float]:
    """Return the seconds of a forward and a backward on one device, if its memory held everything."""
    scenario = found.scenario
    target = targets.target(scenario.topology.targets[0])
    sizes = scenario.inputs, scenario.length, target
    share = scenario.topology.devices[0].share
    forward = {"vanilla": vanilla_seconds(*sizes), "flash": flash_seconds(*sizes, causal=causal)}
    return {"attncc": found.one_device} | {name: (1 + BACKWARD) * each / share for name, each in forward.items()}


def _sharings(topology: Topology, inputs: Inputs) -> list[Sharing]:
    found = possible_sharings(topology.count, inputs.kv_heads)
    return found if topology.count <= FEW else [*found[: topology.count < MANY], found[-1]]


@lru_cache(2)
def _pattern(name: str, length: int) -> attncc.Pattern:
    return _entry(name).make(length)


@lru_cache
def _edges(name: str, length: int) -> int:
    return attncc.plan(_pattern(name, length), length).nnz


def _entry(name: str) -> Entry:
    return next(each for each in entries() if each.name == name)


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file by cell, none where there is no file."""
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return {Cell(each["pattern"], each["length"], each["topology"]).key: each for each in rows}


def keep(path: Path, rows: Mapping[str, Mapping[str, Any]], order: Sequence[Cell]) -> None:
    """Write the rows in the order of their cells, a line each."""
    lines = ",\n".join(json.dumps(rows[cell.key]) for cell in order if cell.key in rows)
    inputs = {name: asdict(inputs_on(name)) for name in TOPOLOGIES}
    storage.save(path, f'{{"inputs": {json.dumps(inputs)}, "rows": [\n{lines}\n]}}\n'.encode(), "bench/sweeps")


def study(todo: Sequence[Cell], workers: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield the row of each cell as it comes, from processes of their own."""
    with ProcessPoolExecutor(workers, get_context("spawn"), _without_hypergraphs) as pool:
        futures: dict[Future[dict[str, Any]], Cell] = {pool.submit(row, cell): cell for cell in todo}
        try:
            for done in as_completed(futures):
                yield futures[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _without_hypergraphs() -> None:
    """Let nothing depend on an optional package."""
    sys.modules["mtkahypar"] = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is missing, and write the page."""
    names = [each.name for each in entries()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", nargs="+", choices=names, default=names)
    parser.add_argument("--topologies", nargs="+", choices=TOPOLOGIES, default=TOPOLOGIES)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, metavar="N")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fresh", action="store_true", help="forget what is done")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=million_page.DOCS, help="the folder of the page and its chart")
    options = parser.parse_args(arguments)
    rows = {} if options.fresh else kept(options.results)
    digests = {name: code(name) for name in options.topologies}
    wanted = cells(options.patterns, options.lengths, options.topologies)
    todo = [cell for cell in wanted if rows.get(cell.key, {}).get("code") != digests[cell.topology]]
    print(f"{len(wanted) - len(todo)} of {len(wanted)} cells are done", flush=True)
    began, order = time.perf_counter(), cells(names, sorted({*LENGTHS, *options.lengths}), TOPOLOGIES)
    for count, (cell, found) in enumerate(study(todo, options.workers), 1):
        rows[cell.key] = found
        keep(options.results, rows, order)
        left = (time.perf_counter() - began) / count * (len(todo) - count)
        print(f"[{count}/{len(todo)}, {left:.0f} s left] {million_page.summary(found)}", flush=True)
    million_page.write([rows[cell.key] for cell in order if cell.key in rows], options.docs)


if __name__ == "__main__":
    main()
