"""Errors against the oracle: small for right attention, and large for each way of getting it wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import attncc
from attncc.measure.accuracy import errors
from attncc.planner.shape import Shape

PATTERN = attncc.load("sliding_window", window=16)
LENGTH = 100


def measured(run: Callable[[Tensor, Tensor, Tensor], Tensor]) -> dict[str, float]:
    query, key, value = (torch.randn(2, heads, LENGTH, 8) for heads in (4, 2, 2))
    return errors(run, query, key, value, PATTERN, Shape(LENGTH, LENGTH, 0, 4, 2))


ours = partial(attncc.attention, pattern=PATTERN, enable_gqa=True)


def test_right_attention_has_small_errors() -> None:
    found = measured(ours)
    assert set(found) == {"out", "dq", "dk", "dv"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("wrong", ["out", "dv"])
def test_wrong_attention_has_large_ones(wrong: str) -> None:
    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = ours(query, key, value)
        return out * 1.1 if wrong == "out" else out + (value - value.detach()).mean(1, keepdim=True)

    assert measured(run)[wrong] > 1e-2


def test_another_pattern_is_noticed() -> None:
    assert measured(partial(attncc.attention, pattern=attncc.load("causal"), enable_gqa=True))["out"] > 1e-2
