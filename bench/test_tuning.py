"""The autotuner: how near its results come to the optimum, what they gain, and how long they take."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from compiled import patterns
from optuna.storages import InMemoryStorage
from sweep import RECORDED, REQUEST

import attncc
from attncc.configs.store import user_store
from attncc.measure.timing import Timing, elapsed, take_turns
from attncc.tune.autotune import tasks_of
from attncc.tune.evaluation import Config, Outcome, best
from attncc.tune.request import TuningRequest
from attncc.tune.search import Limits, Search
from attncc.tune.study import FINISHED, Study
from attncc.tune.trial_log import storage

SEEDS, KILLS = 10, 20
PROGRAM = [sys.executable, "-c", "from attncc.cli import main; main()", "tune"]


class Replay:
    """Evaluates by looking a recorded sweep up."""

    batch = 1

    def __init__(self) -> None:
        rows = json.loads(RECORDED.read_text(encoding="utf-8"))["rows"]
        self.seconds = {json.dumps(row["config"], sort_keys=True): row["seconds"] for row in rows}

    def __call__(self, configs: list[Config], best: float | None) -> list[Outcome]:
        found = [self.seconds[json.dumps(dict(config), sort_keys=True)] for config in configs]
        return [Outcome(seconds, (seconds,)) for seconds in found]


def test_search_comes_near_the_best_of_a_sweep(bar) -> None:
    (task,) = tasks_of(REQUEST)
    replay, ranking = Replay(), task.ranking(REQUEST)
    counts = {name: len(values) for name, values in ranking.space.parameters.items()}
    trials = len(replay.seconds) // 4
    first = [ranking.space.point(each) for each in ranking.space.seeded(ranking.facts)]
    found = []
    for seed in range(SEEDS):
        study = Study.of(InMemoryStorage(), "replay", counts, seed)
        search = Search(ranking.space, study, replay, Limits(trials, lambda: 1.0), first, ranking.ranked)
        found.append(best(search.run()) / min(replay.seconds.values()))
    what = f"strided forward, N = 16,384: {trials} of {len(replay.seconds)} configurations tried, seeds within 5%"
    bar(
        what,
        sum(ratio <= 1.05 for ratio in found),
        "at least 9 seeds",
        f"{min(found):.3f} to {max(found):.3f} x the best",
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for these tests."""
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("ATTNCC_CACHE", "nearest")
    return tmp_path


@pytest.mark.timeout(3600)
def test_tuned_configurations_beat_the_default(bar, cache: Path) -> None:
    ratios = {}
    for length in (4096, 16384):
        for name, pattern in patterns(length).items():
            tuned = attncc.autotune(pattern, length, target="cpu", trials=16, budget=40.0)
            ratios[f"{name}, N = {length:,}"] = ratio(pattern, length, tuned.config)
    shown = ", ".join(f"{name} {each:.2f} x" for name, each in ratios.items())
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    bar(
        "tuned over default, forward and backward, 6 patterns x 2 lengths: geometric mean",
        mean,
        "at least 1.15 x",
        shown,
    )
    bar("the same, least", min(ratios.values()), "at least 0.98 x")


def ratio(pattern: attncc.Pattern, length: int, tuned: dict[str, object]) -> float:
    """Return the default's time over the tuned configuration's, measured anew, in turns."""
    leaves = [torch.randn(1, 8, length, 64, requires_grad=True) for _ in range(3)]
    grad = torch.randn(1, 8, length, 64)
    calls = {name: partial(step, pattern, leaves, grad, config) for name, config in (("default", {}), ("tuned", tuned))}
    for call in calls.values():
        call()
    found = take_turns(calls, rounds=9)
    return found["default"]["all"].median / found["tuned"]["all"].median


def step(pattern: attncc.Pattern, leaves: list[torch.Tensor], grad: torch.Tensor, config: dict) -> dict[str, float]:
    run = partial(attncc.attention, *leaves, pattern, config=config)
    return {"all": elapsed(lambda: torch.autograd.grad(run(), leaves, grad), torch.device("cpu"))}


@pytest.mark.timeout(600)
def test_first_tuning_answers_in_time(bar, cache: Path) -> None:
    """What README begins with, its installation aside; without an answer the command fails."""
    command = [*PROGRAM, "strided", "-p", "l=128", "--seq-len", "16384", "--json"]
    begin = time.perf_counter()
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    taken = time.perf_counter() - begin
    assert found["source"] == "tuned"
    what = "`attncc tune strided -p l=128 --seq-len 16384`, in a fresh cache"
    bar(what, taken, "at most 90 s", f"{found['trials_run']} trials")


def test_second_tuning_answers_from_the_cache(benchmark, bar, cache: Path) -> None:
    command = [*PROGRAM, "strided", "-p", "l=128", "--seq-len", "4096", "--trials", "4", "--json"]
    subprocess.run(command, check=True, capture_output=True)
    samples = []

    def again() -> None:
        begin = time.perf_counter()
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        samples.append(time.perf_counter() - begin)
        assert (found["source"], found["trials_run"]) == ("cached", 0)

    benchmark.pedantic(again, rounds=7)
    taken = Timing(tuple(samples))
    bar("second `attncc tune` of a key, in all", taken.median, "at most 1 s", f"{taken.spread:.0%}")


@pytest.mark.timeout(900)
def test_modelled_tuning_takes_minutes(bar, cache: Path) -> None:
    begin = time.perf_counter()
    found = attncc.autotune(attncc.load("strided", l=128), 16384, target="h100")
    what = f"modelled, H100, quick, forward and backward, {sum(each.trials_run for each in found.each)} trials"
    shown = f"{found.over('default'):.2f} x over the default, by the model"
    bar(what, time.perf_counter() - begin, "at most 300 s", shown)


@pytest.mark.timeout(900)
def test_killed_searches_keep_their_trials(bar, cache: Path) -> None:
    """The search is killed repeatedly; no finished trial is repeated."""
    command = [*PROGRAM, "strided", "-p", "l=64", "--seq-len", "2048", "--direction", "fwd", "--trials", "60", "--json"]
    environment = {**os.environ, "ATTNCC_CACHE_DIR": str(cache)}
    moments = random.Random(0)
    survived = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        time.sleep(moments.uniform(0.5, 6.0))
        survived += process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (path,) = user_store().root.glob("*/trials/*.jsonl")
    counts = {name: len(values) for name, values in lists().items()}
    with storage(path) as kept:
        study = Study.of(kept, path.name, counts, 0)
        tried = [
            tuple(sorted(trial.params.items()))
            for trial in study.study.get_trials(states=FINISHED)
            if "samples" in trial.user_attrs
        ]
    assert tried
    shown = f"{len(tried)} trials; {KILLS - survived} of {KILLS} runs were killed at work"
    bar("trials repeated over 20 kills with SIGKILL", len(tried) - len(set(tried)), "at most 0 trials", shown)


def lists() -> dict[str, tuple[object, ...]]:
    """Return the parameters of the killed search."""
    request = TuningRequest(attncc.load("strided", l=64), 2048, direction="fwd", target="cpu")
    return dict(tasks_of(request)[0].ranking(request).space.parameters)
