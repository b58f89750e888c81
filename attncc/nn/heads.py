"""Heads of a token's vector, apart for attention and side by side for projections."""

from __future__ import annotations

from torch import Tensor


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, N, H * D) as (B, H, N, D)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def merged_heads(x: Tensor) -> Tensor:
    """Return (B, H, N, D) as (B, N, H * D)."""
    return x.transpose(1, 2).flatten(2)
