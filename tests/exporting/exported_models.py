"""Models that the tests export, each with its expected results by torch alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import attncc

LENGTH, HEADS, SIZE = 24, 2, 8
IDS = torch.tensor([[0] * 5 + [1] * 9 + [2] * 10, [0] * 12 + [1] * 12])


@attncc.pattern
def documents(i, j, *, ids: attncc.Table, window: int):
    return (ids[i] == ids[j]) & (j <= i) & (i - j < window)


@attncc.pattern
def window(i, j, *, reach: int):
    return (j <= i) & (i - j < reach)


@attncc.score
def biased(score, i, j, h, *, buckets: attncc.Table, cap: float):
    return attncc.where(buckets[i - j] > 1, cap * attncc.tanh(score / cap), score - (h + 1) / 4 * (i - j))


def inputs() -> Tensor:
    """(B, H, N, D), the same in each process."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(2, HEADS, LENGTH, SIZE, dtype=torch.float64, generator=generator)


class Documents(torch.nn.Module):
    """A table for each batch entry, and a score with a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        buckets = (torch.arange(LENGTH) > 2).int() + 1
        score = biased(buckets=buckets, cap=1.5)
        self.attention = attncc.compile(documents(ids=IDS, window=7), score=score)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, 2 * x, x + 1)

    def expected(self, x: Tensor) -> Tensor:
        n = x.shape[2]
        gap = torch.arange(n)[:, None] - torch.arange(n)
        ids = IDS[:, None, :n]
        mask = (ids[..., :, None] == ids[..., None, :]) & (gap >= 0) & (gap < 7)
        score = x @ (2 * x).transpose(-1, -2) / math.sqrt(SIZE)
        slopes = torch.arange(1, HEADS + 1)[:, None, None] / 4
        score = torch.where(gap > 2, 1.5 * torch.tanh(score / 1.5), score - slopes * gap)
        return _attended(score, mask, x + 1)


class Cache(torch.nn.Module):
    """The last four positions against all of them: an offset that depends on the length."""

    def __init__(self) -> None:
        super().__init__()
        self.pattern = window(reach=6)

    def forward(self, x: Tensor) -> Tensor:
        return attncc.attention(x[:, :, -4:], x, x, self.pattern, q_offset=x.shape[2] - 4)

    def expected(self, x: Tensor) -> Tensor:
        n = x.shape[2]
        gap = torch.arange(n)[:, None] - torch.arange(n)
        score = x @ x.transpose(-1, -2) / math.sqrt(SIZE)
        return _attended(score, (gap >= 0) & (gap < 6), x)[:, :, -4:]


def _attended(score: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    return torch.softmax(score.masked_fill(~mask, -math.inf), -1) @ value


MODELS = {"documents": Documents, "cache": Cache}
