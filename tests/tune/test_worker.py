"""Workers: any failure costs one question."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from attncc.errors import ConfigError
from attncc.tune.worker import Failure, Worker


def answering(base: int) -> Callable[[Any], Any]:
    """Return an answerer of numbers that obeys commands."""

    def answer(question: Any) -> Any:
        match question:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "abort":
                os.abort()
            case "leave":
                os._exit(3)
            case "hang":
                time.sleep(60)
            case "raise":
                raise ValueError("no such thing\nat all")
            case "refuse":
                raise ConfigError("Too large.", rule="It fits.")
            case "memory":
                raise MemoryError
            case "variable":
                return os.environ["ATTNCC_CACHE"]
        return base + question

    return answer


def failing() -> Callable[[Any], Any]:
    raise RuntimeError("no inputs")


@pytest.fixture
def worker() -> Any:
    with Worker(answering, (1,), {"ATTNCC_CACHE": "off"}) as made:
        yield made


def test_workers_answer_questions(worker: Worker) -> None:
    assert [worker.ask(each, 60) for each in (1, 2)] == [2, 3]
    assert worker.ask("variable", 60) == "off"


@pytest.mark.parametrize(
    ("question", "reason"),
    [("crash", "SIGSEGV"), ("abort", "SIGABRT"), ("leave", "exit status 3")],
)
def test_crashes_cost_one_question(worker: Worker, question: str, reason: str) -> None:
    found = worker.ask(question, 60)
    assert isinstance(found, Failure)
    assert found.fatal
    assert reason in found.reason
    assert worker.ask(1, 60) == 2


@pytest.mark.timeout(120)
def test_hangs_cost_their_time_limit(worker: Worker) -> None:
    assert worker.ask(1, 60) == 2
    assert worker.ask("hang", 0.5) == Failure("it took more than 0.5 s", fatal=True, late=True)
    assert worker.ask(1, 60) == 2


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("raise", "ValueError: no such thing at all"),
        ("refuse", "Too large."),
        ("memory", "there was not enough memory"),
    ],
)
def test_errors_become_one_line_failures(worker: Worker, question: str, reason: str) -> None:
    assert worker.ask(question, 60) == Failure(reason)
    assert worker.ask(1, 60) == 2


def test_failed_setups_are_reported_each_time() -> None:
    with Worker(failing, ()) as worker:
        for _ in range(2):
            assert worker.ask(1, 60) == Failure("RuntimeError: no inputs", fatal=True)
