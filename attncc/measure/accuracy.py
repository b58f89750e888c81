"""The error of attention on sampled queries, against dense attention in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attncc.backends.reference import as_broadcast, mask_rows
from attncc.patterns import Pattern
from attncc.planner.shape import Shape

#: Most elements of the oracle's scores, so that it needs no more than a few hundred megabytes.
MOST_SCORES = 1 << 23
MOST_ROWS = 64
OUTPUTS = ("out", "dq", "dk", "dv")
#: Roundings of the dtype that are allowed beyond twice the error of dense attention.
ROUNDINGS = 16


@dataclass(frozen=True)
class Accuracy:
    """The largest absolute error of out, dq, dk and dv, and what is allowed of each.

    Allowed is twice the error of dense attention in the inputs' own dtype, and a few roundings of it.
    """

    errors: dict[str, float]
    allowed: dict[str, float]

    @property
    def excess(self) -> str:
        """What is off by more than is allowed, or an empty string."""
        beyond = [name for name, error in self.errors.items() if not error <= self.allowed[name]]
        return ", ".join(
            f"{name} is off by {self.errors[name]:.1e}, allowed {self.allowed[name]:.1e}" for name in beyond
        )


def accuracy(
    run: Callable[[Tensor, Tensor, Tensor], Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern,
    shape: Shape,
    seed: int = 0,
) -> Accuracy:
    """Return the errors of attention and its gradients.

    The output's gradient is zero but for some random queries, so that the oracle needs only their rows to be
    exact about the whole of dk and dv. query: (B, Hq, Nq, D), key: (B, Hkv, Nk, D), value: (B, Hkv, Nk, Dv).
    """
    rows = _sample(query, key, seed)
    inputs = [x.detach().requires_grad_() for x in (query, key, value)]
    out: Tensor = run(*inputs)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.randn(*out.shape[:2], len(rows), out.shape[-1], generator=generator).to(out)
    found = [out[:, :, rows].detach(), *torch.autograd.grad(out[:, :, rows], inputs, grad)]
    mask = as_broadcast(mask_rows(pattern, shape, rows), pattern)
    exact, plain = (_dense([x.to(dtype) for x in inputs], mask, rows, grad) for dtype in (torch.float64, query.dtype))
    limits = [_limit(a, b, query.dtype) for a, b in zip(plain, exact, strict=True)]
    return Accuracy(
        {name: _largest(a.double() - b) for name, a, b in zip(OUTPUTS, found, exact, strict=True)},
        dict(zip(OUTPUTS, limits, strict=True)),
    )


def _limit(plain: Tensor, exact: Tensor, dtype: torch.dtype) -> float:
    return 2 * _largest(plain.double() - exact) + ROUNDINGS * torch.finfo(dtype).eps * max(1.0, _largest(exact))


def _largest(x: Tensor) -> float:
    return float(x.abs().max())


def _sample(query: Tensor, key: Tensor, seed: int) -> Tensor:
    """Return sorted random rows; the first and the last are always among them."""
    length = query.shape[2]
    most = max(2, min(MOST_ROWS, MOST_SCORES // max(1, query.shape[0] * query.shape[1] * key.shape[2])))
    inner = torch.randperm(max(length - 2, 0), generator=torch.Generator().manual_seed(seed))[: most - 2] + 1
    drawn = torch.cat([torch.tensor([0, length - 1])[:length], inner])
    return drawn.sort().values.to(query.device)


def _dense(tensors: list[Tensor], mask: Tensor, rows: Tensor, grad: Tensor) -> list[Tensor]:
    """Return out of some rows, and the gradients of query, key and value, computed in the tensors' dtype."""
    inputs = [x.detach().requires_grad_() for x in tensors]
    query, key, value = inputs
    group = query.shape[1] // key.shape[1]
    keys, values = (x.repeat_interleave(group, dim=1) for x in (key, value))
    scores = (query[:, :, rows] @ keys.mT) * query.shape[-1] ** -0.5
    weights = torch.exp(scores - scores.detach().amax(-1, keepdim=True)) * mask
    out = (weights @ values) / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(query.dtype).tiny)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad.to(query.dtype))]
