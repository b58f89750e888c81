"""The progress of `attncc tune`, on a terminal and elsewhere, and its signals."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from attncc.cli.tuning_watch import STOPPING, Table, Watch
from attncc.tune.outcome import Outcome

JOB: Any = SimpleNamespace(title="strided(l=16)", direction="forward", target="cpu")


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
    watch.on_step(JOB, "planning")
    watch.on_trial(JOB, progress(0.5, None, 0.25))
    watch.on_step(JOB, "trial 4")
    assert shown == ["forward: planning", "forward: trial 4; best so far 250 ms"]


def test_a_signal_before_the_first_result_interrupts(watch: Watch) -> None:
    watch.on_step(JOB, "planning")
    with pytest.raises(KeyboardInterrupt):
        watch.stop(signal.SIGINT)


def test_a_second_signal_interrupts(watch: Watch, shown: list[str]) -> None:
    watch.on_step(JOB, "trial 1")
    watch.on_trial(JOB, progress(0.5))
    watch.stop(signal.SIGTERM)
    assert watch.is_cancelled()
    assert shown[-1] == f"forward: {STOPPING}"
    watch.on_step(JOB, "finals, round 1 of 7")
    assert STOPPING in shown[-1]
    with pytest.raises(KeyboardInterrupt):
        watch.stop(signal.SIGINT)
    assert watch.signal == signal.SIGINT


def test_results_are_passed_on_immediately() -> None:
    found: list[Any] = []
    watch = Watch(lambda step: None, found.append)
    result: Any = object()
    watch.on_trial(JOB, progress(0.5))
    watch.on_result(result)
    assert found == watch.results == [result]
    assert watch.progress is None  # the next direction has no result yet


def test_a_terminal_shows_the_current_step() -> None:
    console = Console(width=100)
    table = Table()

    def text() -> str:
        with console.capture() as capture:
            console.print(table)
        return capture.get()

    assert "loading" in text()
    table.watch = Watch(table.show, lambda result: None)
    table.watch.on_step(JOB, "planning")
    assert "forward: planning" in text()
    table.watch.on_trial(JOB, progress(0.5, None))
    assert "2 of 48" in text()
    assert "failed 1 x" in text()
