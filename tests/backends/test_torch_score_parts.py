"""Score parts: pairs that a condition on positions parts have plans of their own, and give what one score gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import attncc
from attncc.backends import get
from attncc.backends.torch.execute import TorchExecutable
from attncc.backends.torch.score_parts import ScoreParts
from attncc.testing import check_score

N = 160
IDS = np.random.default_rng(0).integers(0, 5, N)


@attncc.score
def self_last(score, i, j):
    return attncc.where(i == j, -5e4, score)


@attncc.score
def without_self(score, i, j):
    return attncc.where(i == j, -math.inf, score)


@attncc.score
def only_near(score, i, j):
    return attncc.where(abs(i - j) < 40, score, -math.inf)


@attncc.score
def biased_start(score, i, j, *, bias: attncc.Weights):
    return attncc.where(j < 4, score + bias[j], attncc.where(i == j, 2 * score, score))


@attncc.score
def other_ids(score, i, j, *, ids: attncc.Table):
    return attncc.where(ids[i] == ids[j], -1.0, score)


SCORES = {
    "self last": self_last(),
    "without self": without_self(),
    "only near": only_near(),
    "weights, and a choice in a branch": biased_start(bias=torch.randn(4)),
    "a table": other_ids(ids=IDS),
}
PATTERNS = {
    "causal": attncc.load("causal"),
    "window": attncc.load("sliding_window", window=9),
    "first only": attncc.load("sliding_window", window=1),
    "strided": attncc.load("strided", l=16),
    "document": attncc.load("document", ids=IDS),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_parts_give_what_the_oracle_gives(pattern: str, score: str) -> None:
    check_score(SCORES[score], PATTERNS[pattern], lengths=(N,))


def lowered(score: attncc.Score, pattern: attncc.Pattern, n: int) -> TorchExecutable | ScoreParts:
    return get("torch").lower(attncc.plan(pattern, n), score.template.bound({}), {})
