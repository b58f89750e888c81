"""Answers in words, for results made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attncc
from attncc.cli.tuning_summary import summary
from attncc.configs.entry import Entry, about
from attncc.tune.autotune import tasks_of
from attncc.tune.request import TuningRequest
from attncc.tune.result import TaskResult, TuningResult

STRIDED = attncc.load("strided", l=16)
TUNED = {"query_tile": 96}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ATTNCC_CACHE", raising=False)


def result(
    direction: str, seconds: dict[str, float], *, trials: int = 40, ended: str = "exhausted", **others: Any
) -> TaskResult:
    (task,) = tasks_of(TuningRequest(STRIDED, 16384, target="cpu", direction=direction))
    config = {f"{task.direction}.{name}": value for name, value in others.pop("config", {}).items()}
    told = about(STRIDED, 16384, 16384) | {"candidates": 40} | others.pop("about", {})
    entry = Entry(task.key, task.environment, config, "measured", seconds, trials=trials, effort="quick", about=told)
    return TaskResult(task, entry, "tuned", trials, ended=ended, **others)


SAME = {"best": 1.0, "default": 1.0, "dense": 10.0}


def test_the_default_may_be_the_best() -> None:
    assert summary(TuningResult([result("fwd", SAME), result("bwd", SAME | {"dense": 20.0})])) == (
        "attncc.attention() runs strided(l=16) at 16,384 positions on cpu as it does without tuning: the default was "
        "already the best of 80 configurations. That is 15.0 x as fast as dense attention (forward 10.0 x, backward "
        "20.0 x)."
    )


def test_improvements_in_one_direction_are_reported() -> None:
    faster = result("fwd", {"best": 0.5, "default": 1.0, "dense": 10.0}, config=TUNED)
    said = summary(TuningResult([faster, result("bwd", SAME)]))
    assert "runs strided(l=16) at 16,384 positions on cpu with what was found: 1.33 x as fast as the default, " in said
    assert "in the backward the default itself, which was already the best." in said


@pytest.mark.parametrize(
    ("dense", "said"),
    [
        (10.0, "10.0 x as fast as dense attention"),
        (1.01, "Dense attention is as fast."),
        (0.5, "Dense attention is faster, 2.0 x"),
    ],
)
def test_answers_compare_with_dense_attention(dense: float, said: str) -> None:
    assert said in summary(TuningResult([result("fwd", SAME | {"dense": dense})]))


def test_scaled_baselines_are_reported() -> None:
    scaled = result("bwd", SAME, about={"dense_q_len": 8192})
    assert "timed in the backward at 8,192 positions, and its time scaled by the number of edges" in summary(
        TuningResult([scaled])
    )
    assert scaled.describe()["dense_scaled_from"] == 8192


def test_untried_candidates_are_counted() -> None:
    cut = [result(each, SAME, trials=10, ended="time") for each in ("fwd", "bwd")]
    assert "Not tried: 30 of 40 in the forward and 30 of 40 in the backward, as the time was up;" in summary(
        TuningResult(cut)
    )
    assert "--effort full" in summary(TuningResult([result("fwd", SAME, trials=10, ended="trials")]))
    assert "Not tried" not in summary(TuningResult([result("fwd", SAME)]))


def test_time_for_the_default_only_is_reported() -> None:
    said = summary(TuningResult([result("fwd", SAME, trials=1, ended="time")]))
    assert "as it does without tuning: there was time for the default only." in said
    assert "already the best" not in said


def test_unused_configurations_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    better = {"best": 0.5, "default": 1.0}
    assert "could not be stored" in summary(TuningResult([result("fwd", better, config=TUNED, is_stored=False)]))
    monkeypatch.setenv("ATTNCC_CACHE", "off")
    assert "With ATTNCC_CACHE=off, attncc.attention() looks nothing up" in summary(
        TuningResult([result("fwd", better, config=TUNED)])
    )


def test_cancellation_is_reported() -> None:
    assert summary(TuningResult([], is_cancelled=True)) == (
        "It was stopped before anything was found. The same command goes on where it was."
    )
    assert summary(TuningResult([result("fwd", SAME)], is_cancelled=True)).endswith(
        "It was stopped after the forward. The same command goes on where it was."
    )
