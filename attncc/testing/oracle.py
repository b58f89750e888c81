"""Dense attention under a mask, with gradients, written out in one dtype: the oracle in float64, the yardstick in
the dtype under test."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Results:
    """Attention's outputs and gradients: out (B, Hq, Nq, Dv), lse (B, Hq, Nq), and the inputs' gradients."""

    out: Tensor
    lse: Tensor
    d_query: Tensor
    d_key: Tensor
    d_value: Tensor

    def items(self) -> list[tuple[str, Tensor]]:
        """Return (name, tensor) of everything."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


@dataclass(frozen=True)
class Problem:
    """Inputs: query (B, Hq, Nq, D), key (B, Hkv, Nk, D), value (B, Hkv, Nk, Dv), and the gradients of out and lse."""

    query: Tensor
    key: Tensor
    value: Tensor
    grad_out: Tensor
    grad_lse: Tensor
    scale: float

    @classmethod
    def drawn(
        cls,
        q_len: int,
        kv_len: int,
        *,
        batch: int = 1,
        heads: int = 1,
        kv_heads: int = 1,
        head_dim: int = 16,
        value_dim: int = 16,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> Problem:
        """Return a problem with normally distributed tensors."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        return cls(
            normal(batch, heads, q_len, head_dim),
            normal(batch, kv_heads, kv_len, head_dim),
            normal(batch, kv_heads, kv_len, value_dim),
            normal(batch, heads, q_len, value_dim),
            normal(batch, heads, q_len).float(),
            head_dim**-0.5,
        )

    def to(self, dtype: torch.dtype) -> Problem:
        """Return the problem in another dtype."""
        return Problem(
            self.query.to(dtype),
            self.key.to(dtype),
            self.value.to(dtype),
            self.grad_out.to(dtype),
            self.grad_lse.to(dtype),
            self.scale,
        )

    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value as leaves that collect gradients."""
        query, key, value = (x.detach().clone().requires_grad_() for x in (self.query, self.key, self.value))
        return query, key, value


def differentiated(out: Tensor, lse: Tensor, leaves: tuple[Tensor, ...], problem: Problem) -> Results:
    """Return outputs with the gradients of <out, grad_out> + <lse, grad_lse>; rows without keys have no lse."""
    seen = lse.detach() > -math.inf
    loss = (out * problem.grad_out.to(out.dtype)).sum() + (lse[seen] * problem.grad_lse.to(lse.dtype)[seen]).sum()
    return Results(out.detach(), lse.detach(), *torch.autograd.grad(loss, leaves))


def dense(problem: Problem, mask: Tensor) -> Results:
    """Return attention under a bool mask that broadcasts to (B, Hq, Nq, Nk), computed in the problem's dtype.

    A query without keys gives out 0, lse -inf and no gradient.
    """
    leaves = problem.leaves()
    query, key, value = leaves
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = (query @ key.mT) * problem.scale
    seen = mask.any(-1, keepdim=True).expand(*scores.shape[:-1], 1)
    scores = scores.masked_fill(~mask, -math.inf).masked_fill(~seen, 0.0)
    weights = torch.softmax(scores, -1) * seen
    lse = torch.logsumexp(scores, -1).masked_fill(~seen[..., 0], -math.inf)
    return differentiated(weights @ value, lse, leaves, problem)
