"""Dense attention under the mask, written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype, sums_like
from attncc.backends.base import Gradients, Saved
from attncc.backends.logsum import LogSum, softmax_sums
from attncc.backends.reference.mask import as_broadcast, mask_rows
from attncc.backends.scoring import ScoredBlock
from attncc.frontend.pages import Pages
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.plan import Plan


@dataclass(frozen=True)
class ReferenceExecutable:
    """Dense attention; every intermediate is (B, Hq, Nq, Nk).

    The forward is made of torch's own operations, so that autograd gives derivatives of every order. The backward is
    for partial results, whose softmax is known by its lse alone.
    """

    plan: Plan
    score: ScoreExpression

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """See attncc.backends.base.Executable."""
        key, value = self._at_positions(key), self._at_positions(value)
        dense = DenseInputs.of(query, key, value, self.mask(query))
        scores = self._scored(dense, weights, scale).differentiable(dense.seen)
        shifted, total, peak = softmax_sums(scores)
        empty = total == 0
        total = total.masked_fill(empty, 1.0)
        lse = LogSum.of(peak, total).masked(empty)
        out = (shifted @ dense.value) / total.unsqueeze(-1)
        return out.to(query.dtype), LogSum(lse.value) if self.score.is_identity else lse

    def max_scores(self, query: Tensor, key: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        """See attncc.backends.base.FindsMaxScores."""
        key = self._at_positions(key)
        dense = DenseInputs.of(query, key, key, self.mask(query))
        scores = self._scored(dense, weights, scale).value().masked_fill(~dense.seen, -math.inf)
        return scores.amax(-1) if scores.shape[-1] else scores.new_full(scores.shape[:-1], -math.inf)

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """See attncc.backends.base.Executable."""
        query, key, value, weights = saved.query, saved.key, saved.value, saved.weights
        dense = DenseInputs.of(query, key, value, self.mask(query))
        do = dense.of_queries(grad_out)
        scored = self._scored(dense, weights, scale)
        scores = scored.value().masked_fill(~dense.seen, -math.inf)
        p = saved.lse.weights(scores)
        delta = (do * saved.out.to(do)).sum(-1, keepdim=True)
        if grad_lse is not None:
            delta = delta - grad_lse.to(do).unsqueeze(-1)
        ds = p * (do @ dense.value.mT - delta)
        d_weights = [sums_like(x, query.dtype) for x in weights if with_weights]
        if with_weights:
            scored.add_by_weights(d_weights, ds, scores)
        ds = scored.by_score(ds, scores) * scale
        return Gradients(
            (ds @ dense.key).to(query.dtype),
            _summed(ds.mT @ dense.query, key).to(key.dtype),
            _summed(p.mT @ do, value).to(value.dtype),
            [d.to(x.dtype) for d, x in zip(d_weights, weights, strict=False)],
        )

    def _at_positions(self, x: Tensor) -> Tensor:
        """Return keys or values (B, Hkv, Nk, D) in the order of their positions."""
        pages = Pages.of(self.plan.pattern)
        if pages is None:
            return x
        rows = np.stack([pages.rows(entry, np.arange(pages.positions)) for entry in range(len(x))])
        index = torch.from_numpy(rows).to(x.device)[:, None, :, None]
        return x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3]))

    def _scored(self, dense: DenseInputs, weights: Sequence[Tensor], scale: float) -> ScoredBlock:
        """Return the score of all pairs."""
        shape, raw = self.plan.shape, dense.query @ dense.key.mT * scale
        b, h, rows, cols = (torch.arange(n, device=raw.device) for n in raw.shape)
        axes = {B: b.view(-1, 1, 1, 1), H: h.view(-1, 1, 1), I: rows.view(-1, 1) + shape.q_offset, J: cols}
        return ScoredBlock(self.score, raw, {**axes, NQ: shape.q_len, NK: shape.kv_len}, weights)

    def mask(self, query: Tensor) -> Tensor:
        """Return the dense mask on the query's device; it broadcasts to (B, Hq, Nq, Nk)."""
        shape = self.plan.shape
        mask = mask_rows(self.plan.pattern, shape, torch.arange(shape.q_len, device=query.device))
        return as_broadcast(mask, self.plan.pattern)


@dataclass(frozen=True)
class DenseInputs:
    """Inputs in the accumulation dtype, key heads repeated for the query heads that share them, and the dense mask.

    Rows that are in no pair are 0, whatever they held: 0 times NaN would reach the other rows.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    seen: Tensor

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> DenseInputs:
        dtype, unused = accumulation_dtype(query.dtype), ~seen.any(-2).unsqueeze(-1)
        key, value = (_expanded(x, query).to(dtype).masked_fill(unused, 0.0) for x in (key, value))
        blind = ~seen.any(-1, keepdim=True)
        return cls(query.to(dtype).masked_fill(blind, 0.0), key, value, seen)

    def of_queries(self, x: Tensor) -> Tensor:
        """Return a tensor of query rows, cleaned alike."""
        return x.to(self.query.dtype).masked_fill(~self.seen.any(-1, keepdim=True), 0.0)


def _expanded(x: Tensor, query: Tensor) -> Tensor:
    """Repeat key heads for the query heads that share them."""
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1)


def _summed(gradient: Tensor, x: Tensor) -> Tensor:
    """Sum the gradients of the query heads that share a key head."""
    batch, heads, keys, size = gradient.shape
    return gradient.reshape(batch, x.shape[1], heads // x.shape[1], keys, size).sum(2)
