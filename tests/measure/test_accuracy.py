"""Errors against the oracle: small for right attention, and large for each way of getting it wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import attncc
from attncc.measure.accuracy import Accuracy, accuracy
from attncc.planner.shape import Shape

PATTERN = attncc.load("sliding_window", window=16)
LENGTH = 100


def measured(run: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Accuracy:
    query, key, value = (torch.randn(2, heads, LENGTH, 8) for heads in (4, 2, 2))
    return accuracy(run, query, key, value, PATTERN, Shape(LENGTH, LENGTH, 0, 4, 2))


ours = partial(attncc.attention, pattern=PATTERN, enable_gqa=True)


def test_right_attention_has_small_errors() -> None:
    found = measured(ours)
    assert set(found.errors) == set(found.allowed) == {"out", "dq", "dk", "dv"}
    assert max(found.errors.values()) < 1e-5
    assert found.excess == ""


@pytest.mark.parametrize("wrong", ["out", "dv"])
def test_wrong_attention_has_large_ones(wrong: str) -> None:
    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = ours(query, key, value)
        return out * 1.1 if wrong == "out" else out + (value - value.detach()).mean(1, keepdim=True)

    found = measured(run)
    assert found.errors[wrong] > 1e-2
    assert f"{wrong} is off by" in found.excess


def test_another_pattern_is_noticed() -> None:
    assert measured(partial(attncc.attention, pattern=attncc.load("causal"), enable_gqa=True)).errors["out"] > 1e-2
