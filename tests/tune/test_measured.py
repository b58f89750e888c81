"""DeviceEvaluator: limits of trials, and the finals, with workers and a clock of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import attncc
from attncc.measure.accuracy import Accuracy
from attncc.measure.dense import DenseTiming
from attncc.tune import measured
from attncc.tune.autotune import tasks_of
from attncc.tune.measured import (
    LEAST_LIMIT,
    LEAST_OVERRUN,
    PATIENCE,
    ROUNDS,
    CheckErrors,
    DeviceEvaluator,
    Policy,
    TimeDense,
    TimeRound,
    TimeTrial,
)
from attncc.tune.request import TuningRequest
from attncc.tune.worker import Failure

DEFAULT = {"forward.segment": 4}
RIGHT, WRONG = Accuracy({"out": 0.0}, {"out": 1.0}), Accuracy({"out": 2.0}, {"out": 1.0})


class FakeWorker:
    """Gives set answers in set times, and records questions and limits."""

    answer: Callable[[Any], Any]

    def __init__(self, *arguments: Any) -> None:
        self.questions: list[Any] = []
        self.limits: list[float | None] = []

    def start(self) -> None: ...

    def close(self) -> None: ...

    def post(self, question: Any) -> None:
        self.questions.append(question)

    def collect(self, limit: float | None) -> Any:
        self.limits.append(limit)
        return type(self).answer(self.questions[-1])

    def ask(self, question: Any, limit: float | None) -> Any:
        self.post(question)
        return self.collect(limit)


class Bench:
    """A DeviceEvaluator whose clock, workers and time are the test's."""

    def __init__(self, answer: Callable[[Bench, Any], Any], left: float = 1000.0) -> None:
        self.now, self.left = 0.0, left
        FakeWorker.answer = staticmethod(lambda question: answer(self, question))
        (task,) = tasks_of(TuningRequest(attncc.load("causal"), 64, target="cpu", direction="fwd"))
        self.steps: list[str] = []
        self.evaluate = DeviceEvaluator(task, DEFAULT, 0, Policy(), ["cpu"], lambda: self.left, self.steps.append)
        self.worker: Any = self.evaluate._workers[0]

    def finals(self, *segments: int, rounds: int = 7, dense: bool = False) -> Any:
        contestants = [DEFAULT, *({"forward.segment": each} for each in segments)]
        return self.evaluate.finals(contestants, dense=dense, rounds=rounds, left=lambda: self.left)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(measured, "Worker", FakeWorker)


def lasting(seconds: float) -> Callable[[Bench, Any], Any]:
    def answer(bench: Bench, question: Any) -> Any:
        bench.now += seconds
        return [seconds]

    return answer


@pytest.mark.parametrize("seconds", [0.1, 100.0, 1000.0])
def test_limits_scale_with_the_first_run_of_the_default(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(lasting(seconds), left=1e6)
    monkeypatch.setattr("time.monotonic", lambda: bench.now)
    (first,) = bench.evaluate([DEFAULT], None)
    (second,) = bench.evaluate([{"forward.segment": 8}], seconds)
    assert first.seconds == second.seconds == seconds
    assert bench.worker.limits == [None, max(LEAST_LIMIT, PATIENCE * seconds)]  # the default has no limit


def test_trials_end_soon_after_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(lasting(20.0))
    monkeypatch.setattr("time.monotonic", lambda: bench.now)
    bench.evaluate([DEFAULT], None)
    bench.left = 7.0
    bench.evaluate([{"forward.segment": 8}], 20.0)
    assert bench.worker.limits[-1] == 7.0 + 20.0  # the default's time beyond it
    bench.left = -5.0
    bench.evaluate([DEFAULT], None)
    assert bench.worker.limits[-1] is None
    assert bench.worker.questions[-1].policy.seconds == 0.0  # one sample


def test_limits_scale_with_calls_of_an_earlier_search() -> None:
    bench = Bench(lasting(1.0), left=0.0)
    bench.evaluate([{"forward.segment": 8}], None)
    bench.evaluate([{"forward.segment": 8}], 10.0)
    assert bench.worker.limits == [LEAST_OVERRUN, measured.CALLS * 10.0]


def test_late_trials_are_not_failures() -> None:
    bench = Bench(lambda bench, question: Failure("it took more than 60 s", fatal=True, late=True))
    (late,) = bench.evaluate([{"forward.segment": 8}], 1.0)
    assert (late.seconds, late.is_late) == (None, True)
    bench = Bench(lambda bench, question: Failure("it crashed", fatal=True))
    (failed,) = bench.evaluate([{"forward.segment": 8}], 1.0)
    assert (failed.seconds, failed.is_late) == (None, False)


def test_sampling_stops_after_the_budget() -> None:
    policy = Policy(least=3, most=7, seconds=5.0)
    assert not policy.enough([2.0], None)
    assert policy.enough([2.0, 3.0], None)


def racing(seconds: dict[int, float], wrong: tuple[int, ...] = ()) -> Callable[[Bench, Any], Any]:
    """Return answers of configurations by their segment."""

    def answer(bench: Bench, question: Any) -> Any:
        match question:
            case TimeRound():
                return seconds[question.config["forward.segment"]]
            case CheckErrors():
                return WRONG if question.config["forward.segment"] in wrong else RIGHT
            case TimeDense():
                return DenseTiming((8.0,), 32, 64)

    return answer


def test_only_the_winner_is_checked_and_replaced_if_wrong() -> None:
    bench = Bench(racing({4: 1.0, 8: 0.5, 16: 0.7}, wrong=(8,)))
    found = bench.finals(8, 16)
    assert (found.winner, list(found.errors)) == (2, [1])
    checked = [each.config["forward.segment"] for each in bench.worker.questions if isinstance(each, CheckErrors)]
    assert checked == [8, 16]
    bench = Bench(racing({4: 1.0, 8: 2.0}))
    assert bench.finals(8).winner == 0
    assert not any(isinstance(each, CheckErrors) for each in bench.worker.questions)


def test_configurations_slower_than_the_default_leave_the_finals() -> None:
    found = Bench(racing({4: 1.0, 8: 0.5, 16: 2.0})).finals(8, 16)
    assert [len(each) for each in found.samples] == [7, 7, ROUNDS]
    found = Bench(racing({4: 1.0, 8: 1.5, 16: 2.0})).finals(8, 16)
    assert [len(each) for each in found.samples] == [ROUNDS] * 3


def test_the_budget_ends_the_finals_after_a_few_rounds() -> None:
    bench = Bench(racing({4: 1.0, 8: 0.5}), left=-1.0)
    assert [len(each) for each in bench.finals(8).samples] == [ROUNDS] * 2


def test_a_failing_default_loses_the_finals() -> None:
    run = racing({8: 0.5})

    def answer(bench: Bench, question: Any) -> Any:
        is_default = isinstance(question, TimeRound) and question.config == DEFAULT
        return Failure("it crashed") if is_default else run(bench, question)

    found = Bench(answer).finals(8)
    assert found.winner == 1
    assert len(found.samples[1]) == 7


def test_dense_attention_is_timed_once() -> None:
    bench = Bench(racing({4: 1.0, 8: 0.5}))
    found = bench.finals(8, dense=True)
    assert (found.dense, found.dense_length) == ((8.0,), 32)
    assert sum(isinstance(each, TimeDense) for each in bench.worker.questions) == 1


def test_finals_continue_if_dense_attention_fails() -> None:
    run = racing({4: 1.0, 8: 0.5})
    bench = Bench(lambda bench, each: Failure("no memory") if isinstance(each, TimeDense) else run(bench, each))
    found = bench.finals(8, dense=True)
    assert (found.winner, found.dense, found.dense_length) == (1, (), None)
    assert any("round 7 of 7" in step for step in bench.steps)


def test_samples_of_one_trial_use_a_share_of_the_budget() -> None:
    bench = Bench(lasting(1.0), left=12.0)
    bench.evaluate([DEFAULT], 3.0)
    (question,) = bench.worker.questions
    assert question == TimeTrial(DEFAULT, 3.0, Policy(seconds=3.0))
