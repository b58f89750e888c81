"""Tuning under a score: keys, measurements, checks, lookups by attention(), and refusals."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import TritonKernels
from attncc.configs.key import Key
from attncc.errors import TableError
from attncc.frontend.scores import PLAIN, Score
from attncc.planner.directions import BY_SHORT_NAME
from attncc.planner.shape import Shape
from attncc.tune import modelled
from attncc.tune.autotune import tasks_of
from attncc.tune.backend_task import BackendTask
from attncc.tune.measured import CheckErrors, Policy, TimeTrial, measuring
from attncc.tune.request import TuningRequest

CAUSAL = attncc.load("causal")
ALIBI = attncc.alibi(slopes=attncc.alibi_slopes(2))
CAPPED = attncc.softcap(cap=5.0)
SMALL: dict[str, Any] = {"heads": 2, "head_dim": 16, "trials": 2, "target": "cpu", "direction": "fwd"}
#: The digest of plain causal attention's key, which must not change.
PLAIN_DIGEST = "0fc270701bdec7f3904b38e390db6774"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))


def learned() -> Score:
    """T5's bias, whose weights are trained."""
    weights = torch.randn(2, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return attncc.t5_bias(weights=weights)


def task_of(score: Score | None, direction: str = "fwd", **choices: Any) -> BackendTask:
    (task,) = tasks_of(TuningRequest(CAUSAL, 64, score=score, **{**SMALL, "direction": direction, **choices}))
    return task


def test_scores_have_their_own_keys() -> None:
    found = {task_of(score).key for score in (None, ALIBI, CAPPED, learned())}
    assert len(found) == 4
    assert task_of(ALIBI).key.score == ALIBI.key
    assert task_of(attncc.alibi(slopes=torch.ones(2))).key == task_of(ALIBI).key  # only the shape of weights matters


def test_keys_without_a_score_are_stable() -> None:
    made = Key.of(CAUSAL, "", Shape(1024, 1024), Inputs(1, 8, 8, 64, 64, "fp32"), "forward", "torch", "cpu")
    assert made.digest == PLAIN_DIGEST


def test_heads_are_planned_where_the_score_depends_on_them() -> None:
    assert task_of(ALIBI).planned_shape.heads == 2
    assert task_of(CAPPED).planned_shape.heads == 1


@pytest.mark.parametrize("direction", ["fwd", "bwd"])
def test_attention_uses_configurations_tuned_for_its_score_only(direction: str) -> None:
    found = attncc.autotune(CAUSAL, 256, score=ALIBI, **{**SMALL, "direction": direction})
    assert [each.source for each in found.each] == ["tuned"]
    assert found.describe()["score"] == repr(ALIBI)
    again = attncc.autotune(CAUSAL, 256, score=ALIBI, **{**SMALL, "direction": direction})
    assert [each.source for each in again.each] == ["cached"]
    way = BY_SHORT_NAME[direction]
    sizes: dict[str, Any] = {"heads": 2, "head_dim": 16, "direction": way}
    (exact,) = attncc.explain_config(CAUSAL, 256, score=ALIBI, **sizes).directions
    (plain,) = attncc.explain_config(CAUSAL, 256, **sizes).directions
    (longer,) = attncc.explain_config(CAUSAL, 512, score=ALIBI, **sizes).directions
    (other,) = attncc.explain_config(CAUSAL, 512, score=CAPPED, **sizes).directions
    assert [each.found.source for each in (exact, plain, longer, other)] == ["exact", "default", "nearest", "default"]
    (miss,) = plain.why_miss()
    assert miss.key == {"score": ("", ALIBI.key)}
    assert "was tuned for a score, not none" in str(miss)
    assert f"causal() under {ALIBI!r}" in str(miss)


@pytest.mark.parametrize("score", [ALIBI, CAPPED, learned(), learned().then(CAPPED)])
@pytest.mark.parametrize("direction", ["fwd", "bwd"])
def test_workers_time_and_check_with_the_score(score: Score, direction: str) -> None:
    task = pickle.loads(pickle.dumps(task_of(score, direction)))
    assert task.key == task_of(score, direction).key
    answer = measuring(task, 0)
    assert all(seconds > 0 for seconds in answer(TimeTrial({}, None, Policy(least=1, most=1))))
    accuracy = answer(CheckErrors({}))
    assert accuracy.excess == ""
    assert {name for name in accuracy.errors if name.startswith("d_")} == {f"d_{each}" for each in score.weights}


def test_unsuitable_weights_are_refused_before_any_trial() -> None:
    with pytest.raises(TableError, match="slopes"):
        task_of(ALIBI, heads=4)


def test_jobs_copy_their_weights() -> None:
    score = learned()
    (mine,), (theirs,) = task_of(score).score.tensors, score.tensors
    assert mine is not theirs
    assert mine.requires_grad
    assert task_of(ALIBI).score.tensors[0].requires_grad is False


@pytest.mark.parametrize(("score", "adds"), [(ALIBI, False), (learned(), True)])
def test_modelled_kernels_include_the_score_and_its_gradients(score: Score, adds: bool) -> None:
    task = task_of(score, "bwd", target="h100", dtype="bf16")
    lowering = lowered(task)
    assert lowering.score == score.expression
    assert lowering.weighted == adds
    assert lowered(replace(task, score=PLAIN)).score is None


def lowered(task: BackendTask) -> Any:
    """Return the lowering of a task's kernels under the default configuration."""
    kernels = modelled._lowered(task, {})
    assert isinstance(kernels, TritonKernels), kernels
    return kernels.lowered.lowering


def test_library_dense_attention_takes_no_score() -> None:
    assert task_of(None).has_dense_baseline
    assert not task_of(ALIBI).has_dense_baseline
