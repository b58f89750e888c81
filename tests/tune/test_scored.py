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
from attncc.configs.key import Key
from attncc.errors import TableError
from attncc.frontend.scores import PLAIN, Score
from attncc.planner.directions import BY_SHORT_NAME
from attncc.planner.shape import Shape
from attncc.tune.autotune import Request
from attncc.tune.backend_subject import BackendSubject
from attncc.tune.job import Job
from attncc.tune.measurement import Checked, Policy, Timed, measuring
from attncc.tune.modelled import Modelled

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


def job_of(score: Score | None, direction: str = "fwd", **choices: Any) -> Job:
    (job,) = Request(CAUSAL, 64, score=score, **{**SMALL, "direction": direction, **choices}).jobs
    return job


def test_scores_have_their_own_keys() -> None:
    found = {job_of(score).key for score in (None, ALIBI, CAPPED, learned())}
    assert len(found) == 4
    assert job_of(ALIBI).key.score == ALIBI.key
    assert job_of(attncc.alibi(slopes=torch.ones(2))).key == job_of(ALIBI).key  # only the shape of weights matters


def test_keys_without_a_score_are_stable() -> None:
    made = Key.of(CAUSAL, "", Shape(1024, 1024), Inputs(1, 8, 8, 64, 64, "fp32"), "forward", "torch", "cpu")
    assert made.digest == PLAIN_DIGEST


def test_heads_are_planned_where_the_score_depends_on_them() -> None:
    assert job_of(ALIBI).planned_shape.heads == 2
    assert job_of(CAPPED).planned_shape.heads == 1


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
    assert "score none (there: " in str(miss)
    assert f"causal() under {ALIBI!r}" in str(miss)


@pytest.mark.parametrize("score", [ALIBI, CAPPED, learned(), learned().then(CAPPED)])
@pytest.mark.parametrize("direction", ["fwd", "bwd"])
def test_workers_time_and_check_with_the_score(score: Score, direction: str) -> None:
    job = pickle.loads(pickle.dumps(job_of(score, direction)))
    assert job.key == job_of(score, direction).key
    answer = measuring(job, 0)
    assert all(seconds > 0 for seconds in answer(Timed({}, None, Policy(least=1, most=1))))
    accuracy = answer(Checked({}))
    assert accuracy.excess == ""
    assert {name for name in accuracy.errors if name.startswith("d_")} == {f"d_{each}" for each in score.weights}


def test_unsuitable_weights_are_refused_before_any_trial() -> None:
    with pytest.raises(TableError, match="slopes"):
        job_of(ALIBI, heads=4)


def test_jobs_copy_their_weights() -> None:
    score = learned()
    (mine,), (theirs,) = job_of(score).score.tensors, score.tensors
    assert mine is not theirs
    assert mine.requires_grad
    assert job_of(ALIBI).score.tensors[0].requires_grad is False


@pytest.mark.parametrize(("score", "adds"), [(ALIBI, False), (learned(), True)])
def test_modelled_kernels_include_the_score_and_its_gradients(score: Score, adds: bool) -> None:
    job = job_of(score, "bwd", target="h100", dtype="bf16")
    program = Modelled(job, 1)._program(job, {})
    assert not isinstance(program, str)
    assert program.lowering.score == score.expression
    assert program.lowering.weighted == adds
    plain = Modelled(job, 1)._program(replace(job, score=PLAIN), {})
    assert not isinstance(plain, str)
    assert plain.lowering.score is None


def test_library_dense_attention_takes_no_score() -> None:
    options = Request(CAUSAL, 64, **SMALL).options
    assert BackendSubject(job_of(None), options).dense
    assert not BackendSubject(job_of(ALIBI), options).dense
