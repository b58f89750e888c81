"""Partitioned schedules: planning time, simulated time, and its agreement with real ranks."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import weak_scaling
from dense import flash_seconds, vanilla_seconds
from distributed_patterns import patterns
from simulated import CASES, RANKS, TIMED, predicted

import attncc
from attncc import targets
from attncc._util import storage
from attncc.backends.inputs import Inputs
from attncc.distributed import Settings
from attncc.distributed.links.fit import topology_of
from attncc.distributed.links.probe import measure_host
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.schedules.traffic import TokenBytes, forward, received
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology
from attncc.measure.timing import Timing
from attncc.visualization.schedule_report import Report, report

HERE = Path(__file__).parent
BOTH = ("forward", "backward")
#: Seconds that planning for 64 ranks may take.
LIMITS = {"window": ("256-window", 2), "strided": ("strided l=1024", 5), "bigbird": ("BigBird", 20)}
LARGE = Inputs(batch=1, heads=32, kv_heads=8, head_dim=128, value_dim=128, dtype="bf16")
SMALL = Inputs(batch=1, heads=8, kv_heads=8, head_dim=64, value_dim=64, dtype="fp32")
#: Length and inputs by topology.
SIZES = {
    "4xrtx4090": (131072, LARGE),
    "8xh100": (131072, LARGE),
    "64xh100": (131072, LARGE),
    "gloo": (16384, SMALL),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LIMITS)
def test_planning_for_64_ranks_takes_seconds(bar, name: str) -> None:
    title, limit = LIMITS[name]
    command = [sys.executable, str(HERE / "cold_schedule.py"), name]
    runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    taken = Timing(tuple(run["seconds"] for run in runs))
    what = f"choose a schedule, {title}, N = 1,048,576 on 64 ranks, cold"
    bar(what, taken.median, f"at most {limit} s", f"{taken.spread:.0%}; {runs[0]['tried']} tried")


@pytest.mark.timeout(900)
def test_four_devices_beat_vanilla_attention_on_one(bar) -> None:
    length, inputs = 131072, Inputs(batch=1, heads=8, kv_heads=8, head_dim=64, value_dim=64, dtype="fp16")
    pattern, device = attncc.load("strided", l=362).union(), targets.target("rtx4090")
    scenario = Scenario(pattern, length, inputs, Topology.load("4xrtx4090"), ("forward",))
    best, tokens_only = choose(scenario)[0], choose(scenario, [Sharing(parts=4)])[0]
    vanilla = vanilla_seconds(inputs, length, device)
    flash = [flash_seconds(inputs, length, device, causal=causal) for causal in (False, True)]
    print(f"\nvanilla {vanilla:.3f} s, flash {flash[0]:.3f} s, causal {flash[1]:.3f} s, here {best.seconds:.5f} s")
    beside = f"dense flash {flash[0] / best.seconds:.0f} x, causal flash {flash[1] / best.seconds:.0f} x"
    beside += f"; if no heads are swapped, vanilla {vanilla / tokens_only.seconds:.0f} x"
    what = "simulated, 4 x RTX 4090, strided l=362, N = 131,072, forward: vanilla attention on one over it"
    bar(what, vanilla / best.seconds, "at least 40 x", beside)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ways", [("forward",), BOTH], ids="+".join)
@pytest.mark.parametrize("name", SIZES)
def test_chosen_schedules_are_as_fast_as_baselines(bar, name: str, ways: tuple[str, ...]) -> None:
    length, inputs = SIZES[name]
    rows = []
    for pattern, each in patterns(length).items():
        rows.append(row(pattern, report(Scenario(each, length, inputs, Topology.load(name), ways))))
        print("\n" + ", ".join(f"{key} {value}" for key, value in rows[-1].items()), end="")
    kept = HERE / "sweeps" / f"makespans_{name}_{'_'.join(ways)}.json"
    lines = ",\n".join(json.dumps(each) for each in rows)
    text = f'{{"length": {length}, "inputs": {json.dumps(asdict(inputs))}, "rows": [\n{lines}\n]}}\n'
    storage.write(kept, text.encode())
    ratios = {each["pattern"]: each["ratio"] for each in rows}
    most, least = (way(ratios, key=ratios.__getitem__) for way in (max, min))
    what = f"simulated, {name}, nine patterns, {' and '.join(ways)}: largest makespan over the best known way's"
    bar(what, round(ratios[most], 9), "at most 1.0 x", f"{most}; least {ratios[least]:.2f} x, {least}")


def row(pattern: str, found: Report) -> dict[str, object]:
    """Return what was chosen and the best known way, in seconds."""
    known = {each.name: each.seconds for each in found.summaries if each.seconds}
    best = min(known, key=known.__getitem__)
    chosen = found.settings(found.best)
    return {
        "pattern": pattern,
        "seconds": found.best.seconds,
        "known": best,
        "known_seconds": known[best],
        "ratio": found.best.seconds / known[best],
        "chosen": {name: value for name, value in chosen.items() if value != getattr(Settings(), name)},
    }


@pytest.mark.timeout(3600)
def test_weak_scaling_is_efficient(bar) -> None:
    found = {count: list(weak_scaling.points(count)) for count in (4, 64)}
    weak_scaling.draw(found)
    for (count, points), ways in itertools.product(found.items(), (("forward",), BOTH)):
        curve = weak_scaling.efficiency(points, ways)
        print(f"\n{count} sinks, {'+'.join(ways)}: " + ", ".join(f"{n}: {left:.3f}" for n, left in curve), end="")
        title = f"256-window and {count} sinks, {' and '.join(ways)}"
        what = f"simulated, 1 to 1,024 x H100, 16 M tokens, {title}: efficiency"
        bar(what, min(left for _, left in curve), "at least 0.9 x")


@pytest.mark.timeout(3600)
def test_predictions_rank_schedules_as_ranks_do(bar, tmp_path: Path) -> None:
    topology = topology_of(measure_host(RANKS, lambda step: None))
    measured, simulated = timed(tmp_path), predicted(topology)
    names = np.array([case.name for case in CASES])
    for ways in (("forward",), BOTH):
        taken = np.array([sum(statistics.median(each[way]) for way in ways) for each in measured])
        made = np.array([sum(each.timelines[way].seconds for way in ways) for each in simulated])
        alone = {name: correlation(taken[names == name], made[names == name]) for name in TIMED}
        beside = ", ".join(f"{name} {value:.2f}" for name, value in alone.items())
        what = f"prediction against {RANKS} gloo ranks, {len(CASES)} schedules, {' and '.join(ways)}: rank correlation"
        bar(what, correlation(taken, made), "at least 0.7 rho", f"alone: {beside}")
        for case, seconds, guess in zip(CASES, taken, made, strict=True):
            print(f"\n{case.name} {case.settings}: {1e3 * seconds:.1f} ms, predicted {1e3 * guess:.1f}", end="")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("length", "most"), [(65_536, 20), (1_048_576, 60)])
def test_new_documents_take_ranks_milliseconds(bar, tmp_path: Path, length: int, most: int) -> None:
    command, store = [sys.executable, str(HERE / "documents_on_ranks.py")], str(tmp_path / "store")
    ranks = [
        subprocess.Popen([*command, str(rank), str(RANKS), store, str(length)], stdout=subprocess.PIPE)
        for rank in range(RANKS)
    ]
    said = [each.communicate(timeout=900)[0] for each in ranks]
    assert [each.returncode for each in ranks] == [0] * RANKS
    taken = Timing(tuple(1e3 * seconds for seconds in json.loads(said[0])))
    what = f"new documents at each step, N = {length:,} on {RANKS} gloo ranks: beyond the same step again"
    bar(what, taken.median, f"at most {most} ms", f"{taken.spread:.0%}")


def timed(folder: Path) -> list[dict[str, list[float]]]:
    """Run CASES on gloo ranks of this host; see ranks_at_work.py."""
    command = [sys.executable, str(HERE / "ranks_at_work.py")]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([*command, str(rank), str(RANKS), str(folder / "store")], env=environment, **options)
        for rank in range(RANKS)
    ]
    for each in ranks:
        each.stdin.write(json.dumps([(case.name, asdict(case.settings)) for case in CASES]))
        each.stdin.close()
    answers = [each.stdout.read() for each in ranks]
    assert [each.wait() for each in ranks] == [0] * RANKS
    found: list[dict[str, list[float]]] = json.loads(answers[0])
    return found


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(ranked(one), ranked(other))[0, 1])


def ranked(values: np.ndarray) -> np.ndarray:
    below, alike = (values[:, None] > values).sum(1), (values[:, None] == values).sum(1)
    return below + (alike - 1) / 2


def test_window_receives_less_than_a_ring(bar) -> None:
    length, window = 131072, 256
    problem = PartitioningProblem(attncc.load("sliding_window", window=window), length, RANKS, LARGE)
    ring = (RANKS - 1) * length // RANKS
    for unit in (32, 128):
        flows = forward(problem.schedule(Settings(unit=unit)), LARGE)
        rows = int(received(flows, RANKS).max()) / (TokenBytes.of(LARGE).key * LARGE.kv_heads)
        halo = -(-(window - 1) // unit) * unit
        what = f"256-window, N = 131,072 on 4 ranks, units of {unit}: rows that the busiest rank receives"
        bar(what, rows, f"at most {halo} rows", f"{ring / rows:.0f} times fewer than a ring's {ring:,}")
