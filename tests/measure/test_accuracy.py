"""Errors against the oracle: small for right attention, large for each mistake."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import attncc
from attncc.frontend.scores import PLAIN, Score
from attncc.measure.accuracy import Accuracy, accuracy
from attncc.planner.shape import Shape

PATTERN = attncc.load("sliding_window", window=16)
LENGTH = 100


def measured(
    run: Callable[[Tensor, Tensor, Tensor], Tensor], score: Score = PLAIN, dtype: torch.dtype = torch.float32
) -> Accuracy:
    query, key, value = (torch.randn(2, heads, LENGTH, 8, dtype=dtype) for heads in (4, 2, 2))
    return accuracy(run, query, key, value, PATTERN, Shape(LENGTH, LENGTH, 0, 4, 2), score=score)


ours = partial(attncc.attention, pattern=PATTERN, enable_gqa=True)


def test_right_attention_has_small_errors() -> None:
    found = measured(ours)
    assert set(found.errors) == set(found.allowed) == {"out", "dq", "dk", "dv"}
    assert max(found.errors.values()) < 1e-5
    assert found.excess == ""


@pytest.mark.parametrize("wrong", ["out", "dv"])
def test_wrong_attention_has_large_errors(wrong: str) -> None:
    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = ours(query, key, value)
        return out * 1.1 if wrong == "out" else out + (value - value.detach()).mean(1, keepdim=True)

    found = measured(run)
    assert found.errors[wrong] > 1e-2
    assert f"{wrong} is off by" in found.excess


def test_a_wrong_pattern_is_detected() -> None:
    assert measured(partial(attncc.attention, pattern=attncc.load("causal"), enable_gqa=True)).errors["out"] > 1e-2


SCORES: dict[str, Callable[[], Score]] = {
    "slopes": lambda: attncc.alibi(slopes=attncc.alibi_slopes(4).requires_grad_()),
    "buckets, then a cap": lambda: attncc.t5_bias(weights=torch.randn(4, 32).requires_grad_()).then(
        attncc.softcap(cap=3.0)
    ),
    "weights that mask": lambda: attncc.t5_bias(
        weights=torch.randn(4, 32).index_fill(1, torch.tensor([2, 5]), -torch.inf).requires_grad_()
    ),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_gradients_are_checked(name: str, dtype: torch.dtype) -> None:
    score = SCORES[name]()
    (name_of_weights,) = score.weights
    found = measured(partial(ours, score=score), score, dtype)
    assert set(found.errors) == {"out", "dq", "dk", "dv", f"d_{name_of_weights}"}
    assert found.excess == ""


def test_wrong_weight_gradients_are_detected() -> None:
    score = SCORES["slopes"]()

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return ours(query, key, value, score=score.on([x * 1.0 + (x.detach() - x) * 0.5 for x in score.tensors]))

    assert "d_slopes is off by" in measured(run, score).excess


def test_a_missing_score_is_detected() -> None:
    assert "out is off by" in measured(ours, attncc.softcap(cap=0.5)).excess
