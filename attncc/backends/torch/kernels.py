"""Tile kernels: attention of equal-shaped items, forward and backward, by torch's flash op or written out.

Items are (X, T, L, D) queries on (X, T, M, D) keys and (X, T, M, Dv) values; `bias` is additive, (1 or X, 1 or T,
L, M), and `causal` means that row r sees keys 0 .. r. lse is (X, T, L) in the accumulation dtype. On rows
without any key the results of either kernel are meaningless and the caller replaces them.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from attncc.backends.base import Gradients, accumulation_dtype

#: Scores that the written-out kernel holds at a time.
MAX_SCORES = 1 << 25


class Kernel(Protocol):
    """One way to compute items."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Return (out, lse) of the items."""
        ...

    def backward(
        self,
        grad_out: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        lse: Tensor,
        bias: Tensor | None,
        causal: bool,
        scale: float,
    ) -> Gradients:
        """Return the gradients for items whose merged results over all passes are `out` and `lse`."""
        ...


class FlashCPU:
    """PyTorch's own blocked kernel for CPUs; key and value heads have one size."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        """See Kernel."""
        result: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=bias, scale=scale
        )
        return result

    def backward(
        self,
        grad_out: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        lse: Tensor,
        bias: Tensor | None,
        causal: bool,
        scale: float,
    ) -> Gradients:
        """See Kernel."""
        result: Gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_out, query, key, value, out, lse, 0.0, causal, attn_mask=bias, scale=scale
        )
        return result


class Written:
    """Matrix products and a softmax in the accumulation dtype, in row blocks: runs on any device."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        """See Kernel."""
        dtype = accumulation_dtype(query.dtype)
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        lse = torch.empty(query.shape[:-1], dtype=dtype, device=query.device)
        for rows in _row_blocks(query, key):
            scores = _scores(query, key, bias, causal, scale, rows)
            lse[:, :, rows] = torch.logsumexp(scores, -1)
            p = torch.exp(scores - _finite(lse[:, :, rows]))
            out[:, :, rows] = (p @ value.to(dtype)).to(out.dtype)
        return out, lse

    def backward(
        self,
        grad_out: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        lse: Tensor,
        bias: Tensor | None,
        causal: bool,
        scale: float,
    ) -> Gradients:
        """See Kernel."""
        dtype = accumulation_dtype(query.dtype)
        d_query = torch.empty(query.shape, dtype=dtype, device=query.device)
        d_key, d_value = (torch.zeros(x.shape, dtype=dtype, device=x.device) for x in (key, value))
        for rows in _row_blocks(query, key):
            p = torch.exp(_scores(query, key, bias, causal, scale, rows) - _finite(lse[:, :, rows]))
            d_out = grad_out[:, :, rows].to(dtype)
            delta = (d_out * out[:, :, rows].to(dtype)).sum(-1, keepdim=True)
            d_scores = p * (d_out @ value.to(dtype).mT - delta) * scale
            d_query[:, :, rows] = d_scores @ key.to(dtype)
            d_key += d_scores.mT @ query[:, :, rows].to(dtype)
            d_value += p.mT @ d_out
        return d_query, d_key, d_value


def kernel_for(device: torch.device) -> Kernel:
    """Return the fastest kernel for tensors on `device`."""
    return FlashCPU() if device.type == "cpu" else Written()


def _row_blocks(query: Tensor, key: Tensor) -> list[slice]:
    length = query.shape[2]
    block = max(1, MAX_SCORES // max(1, query.shape[0] * query.shape[1] * key.shape[2]))
    return [slice(first, min(first + block, length)) for first in range(0, length, block)]


def _scores(query: Tensor, key: Tensor, bias: Tensor | None, causal: bool, scale: float, rows: slice) -> Tensor:
    dtype = accumulation_dtype(query.dtype)
    scores = query[:, :, rows].to(dtype) @ key.to(dtype).mT * scale
    if bias is not None:
        scores = scores + bias[:, :, rows].to(dtype)
    if causal:
        row = torch.arange(rows.start, rows.stop, device=query.device)
        future = torch.arange(key.shape[2], device=query.device) > row.unsqueeze(1)
        scores = scores.masked_fill(future, -math.inf)
    return scores


def _finite(lse: Tensor) -> Tensor:
    return lse.masked_fill(lse == -math.inf, 0.0).unsqueeze(-1)
