"""Accumulation: the dtype that sums over keys and rows are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums over keys, and of lse: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def sums_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return zeros to add up gradients of x in, where it is computed with in `dtype` (None: its own)."""
    return torch.zeros(x.shape, dtype=accumulation_dtype(dtype or x.dtype), device=x.device)
