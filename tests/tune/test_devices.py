"""The devices that measure; each worker has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

import attncc
from attncc.tune import measured
from attncc.tune.autotune import tasks_of
from attncc.tune.backend_task import BackendTask
from attncc.tune.devices import alike
from attncc.tune.measured import CheckErrors, DeviceEvaluator, Policy, TimeRound, TimeTrial
from attncc.tune.request import TuningRequest

KINDS = ("h100", "a100", "h100", "h100")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs, one of another kind."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(KINDS))
    monkeypatch.setattr("attncc.backends.device.target_name", lambda device: KINDS[device.index])


@pytest.mark.parametrize(
    ("most", "found"),
    [(1, ["cuda:0"]), (2, ["cuda:0", "cuda:2"]), (8, ["cuda:0", "cuda:2", "cuda:3"])],
)
@pytest.mark.usefixtures("gpus")
def test_only_gpus_like_the_target_measure(most: int, found: list[str]) -> None:
    assert list(alike("cuda", "h100", most)) == found
    assert alike("cuda", "a100", most) == ("cuda:1",)


def test_a_cpu_measures_alone() -> None:
    assert alike("cpu", "cpu", 4) == ("cpu",)


def telling(task: BackendTask, seed: int) -> Callable[[Any], Any]:
    """Answer what tells the device and the configuration apart."""
    number = float(task.device.partition(":")[2])

    def answer(question: Any) -> Any:
        match question:
            case TimeTrial():
                return [10 * number + float(question.config["forward.segment"])]
            case TimeRound():
                return number
            case CheckErrors():
                return measured.Accuracy({}, {})

    return answer


@pytest.fixture(scope="module")
def on_three() -> Iterator[DeviceEvaluator]:
    """Three devices, with a worker each, which takes seconds to start."""
    (task,) = tasks_of(TuningRequest(attncc.load("causal"), 64, target="cpu", direction="fwd"))
    devices = ["cuda:1", "cuda:2", "cuda:3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "measuring", telling)
        patch.setattr("attncc.tune.devices._identity", lambda device: device)
        default = {"forward.segment": 0}
        with DeviceEvaluator(task, default, 0, Policy(), devices, lambda: 60.0, lambda step: None) as evaluate:
            yield evaluate


def configs(*segments: int) -> Sequence[dict[str, object]]:
    return [{"forward.segment": each} for each in segments]


def test_each_device_times_one_configuration_of_a_batch(on_three: DeviceEvaluator) -> None:
    assert on_three.batch == 3
    assert [each.seconds for each in on_three(configs(4, 5, 6), None)] == [14.0, 25.0, 36.0]
    assert [each.seconds for each in on_three(configs(7), None)] == [17.0]


def test_finals_run_on_one_device(on_three: DeviceEvaluator) -> None:
    found = on_three.finals(configs(4, 5), dense=False, rounds=2, left=lambda: 1.0)
    assert found.samples == ((1.0, 1.0), (1.0, 1.0))


def test_failing_devices_lose_only_their_own_trial(on_three: DeviceEvaluator) -> None:
    found = on_three([configs(4)[0], {}, configs(6)[0]], None)
    assert [each.seconds for each in found] == [14.0, None, 36.0]
    assert "KeyError" in found[1].reason
