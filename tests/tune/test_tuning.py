"""Tuning from end to end on small shapes: results, caching, and refusals."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

import attncc
from attncc._util.storage import CacheWarning
from attncc.cli import tuning_report
from attncc.cli.tuning_summary import summary
from attncc.configs.store import user_store
from attncc.errors import ConfigError, ShapeError
from attncc.tune import measured
from attncc.tune.autotune import tasks_of
from attncc.tune.devices import located
from attncc.tune.evaluation import Finals
from attncc.tune.listener import Listener
from attncc.tune.measured import measuring
from attncc.tune.request import TuningRequest

STRIDED = attncc.load("strided", l=16)
SIGNALLED = Path(__file__).with_name("signalled_cli.py")
SMALL: dict[str, Any] = {"heads": 2, "head_dim": 16, "trials": 3, "target": "cpu", "budget": 240.0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    return tmp_path


def tuned(length: int = 256, **choices: Any) -> Any:
    return attncc.autotune(STRIDED, length, **{**SMALL, **choices})


class Impatient(Listener):
    """Cancels after a number of trials; hears results."""

    def __init__(self, trials: int) -> None:
        self.trials, self.steps, self.results = trials, list[str](), list[Any]()

    def on_step(self, task: Any, step: str) -> None:
        self.steps.append(step)

    def on_trial(self, task: Any, progress: Any) -> None:
        self.trials -= 1

    def on_result(self, result: Any) -> None:
        assert user_store().load(result.task.environment, result.task.key) == result.entry
        self.results.append(result)

    def is_cancelled(self) -> bool:
        return self.trials <= 0


def test_results_are_reported_remembered_and_used() -> None:
    listener = Impatient(trials=1000)
    found = tuned(listener=listener)
    assert listener.results == list(found.each)
    told = " ".join(listener.steps)
    assert all(step in told for step in ("trial 1 of 3: the default", "finals, round 1", "dense attention"))
    assert [each.task.direction for each in found.each] == ["forward", "backward"]
    assert [each.source for each in found.each] == ["tuned", "tuned"]
    assert [each.trials_run for each in found.each] == [3, 3]
    again = tuned()
    assert [each.source for each in again.each] == ["cached", "cached"]
    assert again.config == found.config
    assert again.key == found.key
    explained = attncc.explain_config(STRIDED, 256, heads=2, head_dim=16).describe()
    assert {each["source"] for each in explained["directions"].values()} == {"exact"}


def test_descriptions_include_every_figure() -> None:
    described = json.loads(json.dumps(tuned(direction="fwd").describe()))
    assert {"key", "target", "mode", "source", "trials_run", "config", "plan", "samples", "speedup"} <= described.keys()
    assert described["mode"] == "measured"
    assert described["speedup"]["over_default"] > 0
    assert described["speedup"]["over_dense"] > 0
    assert set(described["samples"]["fwd"]) == {"best", "default", "dense"}


def test_more_effort_continues_the_same_trials() -> None:
    tuned(direction="fwd")
    found = tuned(direction="fwd", trials=5)
    assert found.each[0].trials_run == 2
    assert found.each[0].entry.trials == 5


def test_exhausted_spaces_are_not_tuned_again(tmp_path: Path) -> None:
    space = tmp_path / "two.toml"
    one_each = "\n".join(
        f'"forward.{name}" = [{value}]'
        for name, value in {
            "plan": '"cheapest"',
            "segment": 16,
            "key_multiple": 8,
            "core": 1024,
            "chunk": 1048576,
        }.items()
    )
    space.write_text(f'[parameters]\n{one_each}\n"forward.query_tile" = [32, 64]\n')
    found = tuned(direction="fwd", trials=500, space=space)
    assert found.each[0].entry.trials == found.each[0].entry.about["candidates"] < 500
    assert found.each[0].entry.is_complete
    again = tuned(direction="fwd", trials=1000, space=space)
    assert (again.each[0].source, again.each[0].trials_run) == ("cached", 0)


def test_force_tunes_again() -> None:
    tuned(direction="fwd")
    assert tuned(direction="fwd", force=True).each[0].source == "tuned"


@pytest.mark.parametrize("broken", ["crash", "hang", "raise"])
def test_broken_configurations_cost_one_trial(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "measuring", {"crash": crashing, "hang": hanging, "raise": raising}[broken])
    monkeypatch.setattr(measured, "LEAST_LIMIT", 15.0)
    (result,) = tuned(direction="fwd", trials=4).each
    assert sum(result.reasons.values()) + result.late >= 1
    assert result.entry.trials == 4 - result.late  # late trials don't count
    assert (result.late >= 1) == (broken == "hang")


def crashing(*arguments: Any) -> Callable[[Any], Any]:
    return _breaking(lambda: os.kill(os.getpid(), signal.SIGSEGV), *arguments)


def hanging(*arguments: Any) -> Callable[[Any], Any]:
    return _breaking(lambda: time.sleep(100), *arguments)


def raising(*arguments: Any) -> Callable[[Any], Any]:
    return _breaking(lambda: 1 // 0, *arguments)


def _breaking(fail: Callable[[], object], *arguments: Any) -> Callable[[Any], Any]:
    """Measure, but fail for tiles of 128 rows, which are predicted fastest."""
    answer = measuring(*arguments)

    def broken(question: Any) -> Any:
        config = getattr(question, "config", None)
        if config is not None and config["forward.tile_m"] == 128 and type(question).__name__ == "TimeTrial":
            fail()
        return answer(question)

    return broken


def test_wrong_results_lose_the_finals() -> None:
    finals = Finals(((1.0, 1.0), (0.5, 0.5), (0.7, 0.7)), (), {1: "out is off by 1.0e-01, allowed 1.0e-06"})
    assert finals.winner == 2


@pytest.mark.parametrize(
    ("challenger", "winner"),
    [((0.99, 0.99, 0.99, 0.99), 0), ((0.9, 0.9, 1.1, 1.1), 0), ((0.9, 0.9, 0.9, 1.1), 1), ((1.2, 1.2, 1.2, 1.2), 0)],
)
def test_the_default_is_replaced_only_beyond_the_noise(challenger: tuple[float, ...], winner: int) -> None:
    assert Finals(((1.0, 1.0, 1.0, 1.0), challenger), (), {}).winner == winner


def test_working_configurations_replace_a_failing_default() -> None:
    assert Finals(((), (2.0,), (1.0,)), (), {}).winner == 2
    assert Finals(((), ()), (), {}).winner == 0


def test_killed_runs_resume(cache: Path) -> None:
    arguments = ["tune", "strided", "-p", "l=16", "--seq-len", "512", "--heads", "2", "--direction", "fwd"]
    killed = [sys.executable, str(SIGNALLED), "SIGKILL", "2", *arguments, "--trials", "6"]
    assert subprocess.run(killed, capture_output=True).returncode == -signal.SIGKILL
    command = [sys.executable, "-c", "from attncc.cli import main; main()", *arguments, "--trials", "6", "--json"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["trials_run"] == 4
    assert user_store().root.exists()


def test_tuning_succeeds_with_an_unwritable_cache(cache: Path) -> None:
    (cache / "tuned").write_text("in the way")
    with pytest.warns(CacheWarning):
        found = tuned(direction="fwd")
    assert found.each[0].source == "tuned"


def test_reports_include_pattern_plan_and_plots(tmp_path: Path) -> None:
    found = tuned(direction="fwd", trials=6)
    style = dict(matplotlib.rcParams)
    tuning_report.write(found, tmp_path / "report.html")
    assert dict(matplotlib.rcParams) == style
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 4
    assert "Importance" in page
    assert "(i − j) mod 16 = 0" in page
    assert "pass 1" in page
    assert summary(found) in html.unescape(page)
    assert "strided(l=16)" in page


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "target": ({"target": "h1000"}, ConfigError, "h100"),
    "direction": ({"direction": "sideways"}, ConfigError, "fwd"),
    "effort": ({"effort": "some"}, ConfigError, "quick"),
    "mode": ({"mode": "guessed"}, ConfigError, "measured"),
    "measured elsewhere": ({"target": "h100", "mode": "measured"}, ConfigError, "isn't in this machine"),
    "a modelled CPU": ({"mode": "modelled"}, ConfigError, "GPU"),
    "budget": ({"budget": -1.0}, ConfigError, "more than 0"),
    "heads": ({"kv_heads": 3, "heads": 4}, ShapeError, "multiple"),
    "dtype": ({"dtype": "int8"}, ConfigError, "fp32"),
    "backend": ({"backend": "reference"}, ConfigError, "nothing to tune"),
    "storage": ({"storage": "nowhere"}, ConfigError, "sqlite"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_requests_are_refused(name: str) -> None:
    choices, error, message = BAD[name]
    with pytest.raises(error, match=message):
        tuned(**choices)


def test_several_hosts_share_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    tuned(direction="fwd", storage=url, trials=3)
    found = tuned(direction="fwd", storage=url, trials=4, force=True)
    assert found.each[0].trials_run == 1


def test_the_local_device_is_the_default_target() -> None:
    name, device = located("auto")
    assert (name, device) == ("cpu", "cpu") or torch.cuda.is_available()
    assert located("mi300x")[0] == "mi300x"


def test_both_directions_make_two_jobs() -> None:
    request = TuningRequest(STRIDED, 256, heads=4, kv_heads=2, direction="both", target="cpu")
    assert [task.direction for task in tasks_of(request)] == ["forward", "backward"]
    assert request.budget is None
    assert tasks_of(request)[0].allowance(request).seconds == 75.0  # over both


def test_tiny_budgets_give_an_answer_that_more_time_extends() -> None:
    (found,) = tuned(direction="fwd", trials=None, budget=1e-6).each
    assert (found.entry.trials, found.ended, found.kept_default) == (1, "time", True)
    assert {"best", "default", "dense"} <= found.entry.seconds.keys()
    assert tuned(direction="fwd", trials=None, budget=1e-6).each[0].source == "cached"
    (more,) = tuned(direction="fwd", budget=240.0).each
    assert (more.source, more.trials_run, more.ended) == ("tuned", 2, "trials")
    assert tuned(direction="fwd", budget=480.0).each[0].source == "cached"  # time didn't end it


def test_cancelled_tuning_stores_results_and_resumes() -> None:
    listener = Impatient(trials=2)
    found = tuned(listener=listener)
    assert found.is_cancelled
    assert found.describe()["cancelled"]
    (result,) = found.each
    assert (result.task.direction, result.ended, result.entry.trials) == ("forward", "cancelled", 2)
    assert listener.results == [result]
    (again,) = tuned(direction="fwd").each
    assert (again.source, again.trials_run) == ("tuned", 1)
