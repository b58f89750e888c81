"""Scores and inputs for several test modules."""

from __future__ import annotations

from typing import Annotated

import torch

import attncc
from attncc import Bounds, Weights

CAUSAL = attncc.load("causal")
STRIDED = attncc.load("strided", l=8)


@attncc.score
def sloped(score, h, i, j, *, slopes: Weights):
    """A slope of the head.

    More about it.
    """
    return score - slopes[h] * abs(i - j)


@attncc.score
def looked_up(i, j, *, table: Weights):
    return table[i, j]


@attncc.score
def by_gap(i, j, *, table: Weights):
    return table[i - j]


@attncc.score
def capped(score, *, cap: Annotated[float, Bounds(minimum=0.5, maximum=99)] = 30.0, twice: bool = False, n: int = 1):
    once = cap * attncc.tanh(score / cap)
    return 2 * n * once if twice else n * once


def tensors(n: int = 40, heads: int = 2, dim: int = 8, **options) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, heads, n, dim, **options) for _ in range(3)]
