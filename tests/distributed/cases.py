"""Patterns, a score, and operators to test with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import attncc

N = 61


@attncc.pattern
def global_tokens(i, j, *, window: int, count: int):
    """A causal window, and tokens that see and are seen by all."""
    return ((i - j >= 0) & (i - j < window)) | (i < count) | (j < count)


@attncc.pattern
def random_blocks(i, j, *, block: int, table: attncc.Table):
    return (table[i // block, j // block] == 1) & (j <= i)


@attncc.pattern
def late(i, j, *, window: int, first: int):
    """A causal window on keys from `first` on, so that queries before it see nothing."""
    return (i - j >= 0) & (i - j < window) & (j >= first)


@attncc.pattern
def by_entry(i, j, b, *, window: int):
    return (i - j >= 0) & (i - j < window * (b + 1))


def patterns(n: int = N) -> dict[str, attncc.Pattern]:
    rng = np.random.default_rng(0)
    window = attncc.load("sliding_window", window=10)
    documents = attncc.load("document", ids=np.sort(rng.integers(0, 4, n))).causal()
    buckets = attncc.load("document", ids=rng.integers(0, 4, n)).causal()
    return {
        "causal": attncc.load("causal"),
        "full": attncc.load("full"),
        "window": window,
        "256-window": attncc.load("sliding_window", window=256),
        "strided": attncc.load("strided", l=8),
        "fixed": attncc.load("fixed", l=16, c=3),
        "global": global_tokens(window=6, count=3),
        "blocks": random_blocks(block=8, table=rng.integers(0, 2, (-(-n // 8),) * 2)),
        "documents": documents,
        "buckets": buckets,
        "mix": attncc.per_head([window, attncc.load("strided", l=8), documents, buckets]),
        "entries": by_entry(window=5),
        "nothing for some": late(window=10, first=30),
        "nothing": late(window=10, first=n),
    }


@attncc.score
def flooded(score, i):
    """Every third row has the same large score for all keys."""
    return attncc.where(i % 3 == 0, -1e9, score)


@attncc.score
def biased(score, i, j, h, *, slopes: attncc.Weights):
    return score + slopes[h] * (j - i)


def biased_formula(scores: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """What `biased` does, in torch."""
    position = torch.arange(scores.shape[-1])
    return scores + weights[0][:, None, None] * (position - position[:, None])


def compiled(pattern: attncc.Pattern | None = None, **options: Any) -> Any:
    return attncc.distributed.compile(pattern or attncc.load("causal"), N, **options)
