"""The error of attention on sampled queries, against dense attention in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attncc.backends.reference import as_broadcast, mask_rows
from attncc.patterns import Pattern
from attncc.planner.shape import Shape

#: Most elements of the oracle's scores, so that it needs no more than a few hundred megabytes.
MOST_SCORES = 1 << 23
MOST_ROWS = 64


def errors(
    run: Callable[[Tensor, Tensor, Tensor], Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern,
    shape: Shape,
    seed: int = 0,
) -> dict[str, float]:
    """Return the largest absolute error of out, dq, dk and dv.

    The output's gradient is zero but for some random queries, so that the oracle needs only their rows to be
    exact about the whole of dk and dv. query: (B, Hq, Nq, D), key: (B, Hkv, Nk, D), value: (B, Hkv, Nk, Dv).
    """
    rows = _sample(query, key, seed)
    inputs = [x.detach().requires_grad_() for x in (query, key, value)]
    out: Tensor = run(*inputs)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.randn(*out.shape[:2], len(rows), out.shape[-1], generator=generator).to(out)
    found = [out[:, :, rows].detach(), *torch.autograd.grad(out[:, :, rows], inputs, grad)]
    wanted = _oracle(query, key, value, as_broadcast(mask_rows(pattern, shape, rows), pattern), rows, grad)
    names = ("out", "dq", "dk", "dv")
    return {name: float((a.double() - b).abs().max()) for name, a, b in zip(names, found, wanted, strict=True)}


def _sample(query: Tensor, key: Tensor, seed: int) -> Tensor:
    """Return sorted random rows; the first and the last are always among them."""
    length = query.shape[2]
    most = max(2, min(MOST_ROWS, MOST_SCORES // max(1, query.shape[0] * query.shape[1] * key.shape[2])))
    inner = torch.randperm(max(length - 2, 0), generator=torch.Generator().manual_seed(seed))[: most - 2] + 1
    drawn = torch.cat([torch.tensor([0, length - 1])[:length], inner])
    return drawn.sort().values.to(query.device)


def _oracle(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, rows: Tensor, grad: Tensor) -> list[Tensor]:
    inputs = [x.detach().double().requires_grad_() for x in (query, key, value)]
    group = query.shape[1] // key.shape[1]
    keys, values = (x.repeat_interleave(group, dim=1) for x in inputs[1:])
    scores = (inputs[0][:, :, rows] @ keys.mT) * query.shape[-1] ** -0.5
    weights = torch.exp(scores - scores.detach().amax(-1, keepdim=True)) * mask
    out = (weights @ values) / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.double())]
