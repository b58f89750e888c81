"""The progress of `attncc tune`, on a terminal and elsewhere, and its signals."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from attncc.cli.tuning_watch import STOPPING, LiveStatus, Watch
from attncc.tune.evaluation import Outcome

TASK: Any = SimpleNamespace(title="strided(l=16)", direction="forward", target="cpu")


def progress(*seconds: float | None) -> Any:
    """Return where a search stands after trials of these seconds."""
    outcomes = [Outcome(each, reason="" if each else "it crashed") for each in seconds]
    limits = SimpleNamespace(trials=48)
    return SimpleNamespace(
        config={"a": 1}, outcome=outcomes[-1], finished=dict(enumerate(outcomes)), ran=len(outcomes), limits=limits
    )


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def watch(shown: list[str]) -> Watch:
    return Watch(shown.append, lambda result: None)


def test_steps_are_shown_with_the_best_so_far(watch: Watch, shown: list[str]) -> None:
    watch.on_step(TASK, "planning")
    watch.on_trial(TASK, progress(0.5, None, 0.25))
    watch.on_step(TASK, "trial 4")
    assert shown == ["forward: planning", "forward: trial 4; best so far 250 ms"]


def test_a_signal_before_the_first_result_interrupts(watch: Watch) -> None:
    watch.on_step(TASK, "planning")
    with pytest.raises(KeyboardInterrupt):
        watch.stop(signal.SIGINT)


def test_a_second_signal_interrupts(watch: Watch, shown: list[str]) -> None:
    watch.on_step(TASK, "trial 1")
    watch.on_trial(TASK, progress(0.5))
    watch.stop(signal.SIGTERM)
    assert watch.is_cancelled()
    assert shown[-1] == f"forward: {STOPPING}"
    watch.on_step(TASK, "finals, round 1 of 7")
    assert STOPPING in shown[-1]
    with pytest.raises(KeyboardInterrupt):
        watch.stop(signal.SIGINT)
    assert watch.signal == signal.SIGINT


def test_results_are_passed_on_immediately() -> None:
    found: list[Any] = []
    watch = Watch(lambda step: None, found.append)
    result: Any = object()
    watch.on_trial(TASK, progress(0.5))
    watch.on_result(result)
    assert found == watch.results == [result]
    assert watch.progress is None  # the next direction has no result yet


def test_a_terminal_shows_the_current_step() -> None:
    console = Console(width=100)
    status = LiveStatus()

    def text() -> str:
        with console.capture() as capture:
            console.print(status)
        return capture.get()

    assert "loading" in text()
    status.watch = Watch(status.show, lambda result: None)
    status.watch.on_step(TASK, "planning")
    assert "forward: planning" in text()
    status.watch.on_trial(TASK, progress(0.5, None))
    assert "2 of 48" in text()
    assert "failed 1 x" in text()
