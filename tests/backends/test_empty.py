"""Tensors without batch entries, heads or positions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import attncc
from attncc import backends

BACKENDS = [name for name, problem in backends.report() if problem is None]
CAUSAL = attncc.load("causal")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(0, 2, 8, 4), (2, 0, 8, 4), (2, 2, 0, 4)], ids=["batch", "heads", "positions"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("scored", [False, True])
def test_empty_tensors_give_empty_results(backend: str, size: tuple[int, ...], compiled: bool, scored: bool) -> None:
    torch._dynamo.reset()
    inputs = [torch.randn(size, requires_grad=True) for _ in range(3)]
    slopes = torch.ones(size[1] if scored else 0, requires_grad=True)
    score = attncc.alibi(slopes=slopes) if slopes.numel() else None

    def attended(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return attncc.attention(q, k, v, CAUSAL, score=score, return_lse=True, backend=backend)

    out, lse = (torch.compile(attended, backend="aot_eager", fullgraph=True) if compiled else attended)(*inputs)
    assert out.shape == size
    assert lse.shape == size[:3]
    leaves = [*inputs, slopes] if slopes.numel() else inputs
    for x, gradient in zip(leaves, torch.autograd.grad(out.sum() + lse.sum(), leaves), strict=True):
        assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_without_keys_give_zeros(backend: str) -> None:
    q, k, v = (torch.randn(2, 2, n, 4, requires_grad=True) for n in (5, 0, 0))
    out, lse = attncc.attention(q, k, v, CAUSAL, return_lse=True, backend=backend)
    assert torch.equal(out, torch.zeros(2, 2, 5, 4))
    assert torch.equal(lse, torch.full((2, 2, 5), -math.inf))
    assert not any(x.any() for x in torch.autograd.grad(out.sum(), (q, k, v)))


def test_empty_tensors_are_checked_like_others() -> None:
    q = torch.randn(0, 2, 8, 4, dtype=torch.float64)
    with pytest.raises(attncc.BackendError, match=r"not in torch\.float64"):
        attncc.attention(q, q, q, CAUSAL, backend="triton")
    with pytest.raises(attncc.ShapeError, match="D of at least 1"):
        attncc.attention(q[..., :0], q[..., :0], q[..., :0], CAUSAL)
    with pytest.raises(attncc.ShapeError, match="D of at least 1; B, H and N may be 0"):
        attncc.attention(q, q, q[..., :0], CAUSAL)
    with pytest.raises(attncc.ShapeError, match="0 key heads"):
        attncc.attention(q, q[:, :0], q[:, :0], CAUSAL)
    with pytest.raises(attncc.ShapeError, match="as many query heads as key heads"):
        attncc.attention(q[:, :0], q, q, CAUSAL)
    assert attncc.attention(q[:, :0], q, q, CAUSAL, enable_gqa=True).shape == (0, 0, 8, 4)
