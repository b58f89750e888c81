"""The error of attention on sampled queries, against dense attention in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attncc.backends.reference.mask import as_broadcast, mask_rows
from attncc.backends.scoring import ScoredBlock
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import PLAIN, Score
from attncc.ir.symbols import NK, NQ, B, H, I, J
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
    score: Score = PLAIN,
) -> Accuracy:
    """Return the errors of attention and its gradients, by those of a score's weights that require one, too.

    The output's gradient is zero but for some random queries. So the oracle needs only their rows to be exact about the
    whole of dk and dv. query: (B, Hq, Nq, D), key: (B, Hkv, Nk, D), value: (B, Hkv, Nk, Dv).
    """
    rows = _sample(query, key, seed)
    inputs = [x.detach().requires_grad_() for x in (query, key, value)]
    wanted = {name: tensor for name, tensor in score.weights.items() if tensor.requires_grad}
    names = [*OUTPUTS, *(f"d_{name}" for name in wanted)]
    out: Tensor = run(*inputs)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.randn(*out.shape[:2], len(rows), out.shape[-1], generator=generator, device="cpu").to(out)
    leaves = [*inputs, *wanted.values()]
    results = [out[:, :, rows].detach(), *torch.autograd.grad(out[:, :, rows], leaves, grad)]
    oracle = _Oracle(pattern, shape, score, rows, grad)
    exact, plain = (oracle.results([x.to(dtype) for x in inputs]) for dtype in (torch.float64, query.dtype))
    # A weight's gradient is a sum over all rows of all heads, whose roundings add up as a random walk does.
    roundings = [1.0] * len(OUTPUTS) + [(query.shape[0] * query.shape[1] * len(rows)) ** 0.5] * len(wanted)
    limits = [_limit(a, b, query.dtype, each) for a, b, each in zip(plain, exact, roundings, strict=True)]
    return Accuracy(
        {name: _largest(a.double() - b) for name, a, b in zip(names, results, exact, strict=True)},
        dict(zip(names, limits, strict=True)),
    )


def _limit(plain: Tensor, exact: Tensor, dtype: torch.dtype, roundings: float) -> float:
    floor = ROUNDINGS * roundings * torch.finfo(dtype).eps * max(1.0, _largest(exact))
    return 2 * _largest(plain.double() - exact) + floor


def _largest(x: Tensor) -> float:
    return float(x.abs().max())


def _sample(query: Tensor, key: Tensor, seed: int) -> Tensor:
    """Return sorted random rows; the first and the last are always among them."""
    length = query.shape[2]
    most = max(2, min(MOST_ROWS, MOST_SCORES // max(1, query.shape[0] * query.shape[1] * key.shape[2])))
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randperm(max(length - 2, 0), generator=generator, device="cpu")[: most - 2] + 1
    drawn = torch.cat([torch.tensor([0, length - 1], device="cpu")[:length], inner])
    return drawn.sort().values.to(query.device)


@dataclass(frozen=True, eq=False)
class _Oracle:
    """Dense attention of some rows under a score, written out, and what its gradients are for that of the output."""

    pattern: Pattern
    shape: Shape
    score: Score
    rows: Tensor
    grad: Tensor

    def results(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return out, and the gradients of query, key, value and weights, computed in the tensors' dtype.

        The score is computed in float32 at least.
        """
        inputs = [x.detach().requires_grad_() for x in tensors]
        query, key, value = inputs
        wide = torch.promote_types(query.dtype, torch.float32)
        weights = [x.detach().to(wide).requires_grad_(x.requires_grad) for x in self.score.tensors]
        group = query.shape[1] // key.shape[1]
        keys, values = (x.repeat_interleave(group, dim=1) for x in (key, value))
        scores = self._scored((query[:, :, self.rows] @ keys.mT) * query.shape[-1] ** -0.5, weights, wide)
        top = scores.detach().amax(-1, keepdim=True)
        chances = torch.exp(scores - top.masked_fill(top == -math.inf, 0.0))
        out = (chances @ values) / chances.sum(-1, keepdim=True).clamp_min(torch.finfo(query.dtype).tiny)
        leaves = [*inputs, *(x for x in weights if x.requires_grad)]
        return [out.detach(), *torch.autograd.grad(out, leaves, self.grad.to(query.dtype), materialize_grads=True)]

    def _scored(self, scores: Tensor, weights: list[Tensor], wide: torch.dtype) -> Tensor:
        """Return the scores under the score expression, -inf where there is no pair."""
        batch, heads, _, keys = scores.shape
        b, h, j = (torch.arange(size, device=scores.device) for size in (batch, heads, keys))
        i = self.rows.view(-1, 1) + self.shape.q_offset
        positions = {B: b.view(-1, 1, 1, 1), H: h.view(-1, 1, 1), I: i, J: j}
        lengths = {NQ: self.shape.q_len, NK: self.shape.kv_len}
        made = ScoredBlock(self.score.expression, scores.to(wide), {**positions, **lengths}, weights).value()
        mask = as_broadcast(mask_rows(self.pattern, self.shape, self.rows), self.pattern)
        return made.to(scores.dtype).masked_fill(~mask, -math.inf)
