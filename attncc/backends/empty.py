"""Attention without batch entries or heads: results of shape 0, whatever the backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.base import Gradients, Saved
from attncc.backends.logsum import LogSum


class EmptyExecutable:
    """Takes and returns tensors without batch entries or query heads; see attncc.backends.base.Executable."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse), which autograd sees to come from all inputs."""
        rows = query.sum(-1) + sum(x.sum() for x in (key, value, *weights)).to(query.dtype)  # type: ignore[union-attr]
        out = rows.unsqueeze(-1).expand(*query.shape[:-1], value.shape[-1]).clone()  # no view: results share nothing
        return out, LogSum(rows.to(accumulation_dtype(query.dtype)))

    def max_scores(self, query: Tensor, key: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        """Return as many numbers as there are rows: none."""
        return torch.empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype), device=query.device)

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return zeros."""
        d_query, d_key, d_value = (torch.zeros_like(x) for x in (saved.query, saved.key, saved.value))
        return Gradients(d_query, d_key, d_value, [torch.zeros_like(x) for x in saved.weights if with_weights])


EMPTY = EmptyExecutable()
