"""Dense attention under a mask, with gradients, written out in one dtype: the oracle in float64, the yardstick in
the dtype under test."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: What takes the place of scaled scores (B, Hq, Nq, Nk), given a score's weights by slot.
Formula = Callable[[Tensor, Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Results:
    """Attention's outputs and gradients: out (B, Hq, Nq, Dv), lse (B, Hq, Nq), and the inputs' gradients."""

    out: Tensor
    lse: Tensor
    d_query: Tensor
    d_key: Tensor
    d_value: Tensor
    d_weights: tuple[Tensor, ...] = ()

    def items(self) -> list[tuple[str, Tensor]]:
        """Return (name, tensor) of everything."""
        names = ("out", "lse", "d_query", "d_key", "d_value")
        weights = [(f"d_weights[{slot}]", gradient) for slot, gradient in enumerate(self.d_weights)]
        return [*((name, getattr(self, name)) for name in names), *weights]


@dataclass(frozen=True)
class Problem:
    """Inputs: query (B, Hq, Nq, D), key (B, Hkv, Nk, D), value (B, Hkv, Nk, Dv), the gradients of out and lse, and
    a score's weights by slot."""

    query: Tensor
    key: Tensor
    value: Tensor
    grad_out: Tensor
    grad_lse: Tensor
    scale: float
    weights: tuple[Tensor, ...] = ()

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
        scale: float | None = None,
        seed: int = 0,
    ) -> Problem:
        """Return a problem with normally distributed tensors, the same on each of torch's default devices.

        `scale` defaults to 1/sqrt(D).
        """
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
            return drawn.to(torch.get_default_device(), dtype)

        return cls(
            normal(batch, heads, q_len, head_dim),
            normal(batch, kv_heads, kv_len, head_dim),
            normal(batch, kv_heads, kv_len, value_dim),
            normal(batch, heads, q_len, value_dim),
            normal(batch, heads, q_len).float(),
            head_dim**-0.5 if scale is None else scale,
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
            tuple(x.to(dtype) for x in self.weights),
        )

    def with_weights(self, weights: Sequence[Tensor]) -> Problem:
        """Return the problem with a score's weights, in its dtype."""
        return replace(self, weights=tuple(x.to(self.query) for x in weights))

    def leaves(self) -> tuple[Tensor, ...]:
        """Return query, key, value and the weights as leaves that collect gradients."""
        inputs = (self.query, self.key, self.value, *self.weights)
        return tuple(x.detach().clone().requires_grad_() for x in inputs)


def differentiated(out: Tensor, lse: Tensor, leaves: tuple[Tensor, ...], problem: Problem) -> Results:
    """Return outputs with the gradients of <out, grad_out> + <lse, grad_lse>; rows without keys have no lse."""
    seen = lse.detach() > -math.inf
    loss = (out * problem.grad_out.to(out.dtype)).sum() + (lse[seen] * problem.grad_lse.to(lse.dtype)[seen]).sum()
    d_query, d_key, d_value, *d_weights = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return Results(out.detach(), lse.detach(), d_query, d_key, d_value, tuple(d_weights))


def dense(problem: Problem, mask: Tensor, formula: Formula | None = None) -> Results:
    """Return attention under a bool mask that broadcasts to (B, Hq, Nq, Nk), computed in the problem's dtype.

    `formula` changes the scaled scores, in float32 at least. A query without keys, or whose scores are all -inf,
    gives out 0, lse -inf and no gradient.
    """
    leaves = problem.leaves()
    query, key, value, *weights = leaves
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = (query @ key.mT) * problem.scale
    if formula is not None:
        wide = torch.promote_types(scores.dtype, torch.float32)
        scores = formula(scores.to(wide), [x.to(wide) for x in weights]).to(scores.dtype)
    scores = scores.masked_fill(~mask, -math.inf)
    seen = (scores > -math.inf).any(-1, keepdim=True)
    scores = scores.masked_fill(~seen, 0.0)
    probabilities = torch.softmax(scores, -1) * seen
    # Of the rounded logarithm of N large equal scores, such as -1e30, autograd would make gradients N times too large.
    top = scores.detach().amax(-1, keepdim=True) if scores.shape[-1] else torch.zeros_like(seen, dtype=scores.dtype)
    lse = (torch.logsumexp(scores - top, -1) + top[..., 0]).masked_fill(~seen[..., 0], -math.inf)
    return differentiated(probabilities @ value, lse, leaves, problem)
