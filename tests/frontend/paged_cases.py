"""Sequences in pools of pages."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def in_pages(x: Tensor, lengths: list[int], size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a pool of pages that holds rows x (B, N, H, D) of these lengths, all else NaN, and the page table."""
    batch, longest = len(lengths), max(1, -(-x.shape[1] // size))
    order = np.random.default_rng(seed).permutation(batch * longest + 3)
    pool = x.new_full((len(order), size, *x.shape[2:]), torch.nan)
    table = torch.full((batch, longest), -1, dtype=torch.int32)
    pages = iter(order.tolist())
    for b, n in enumerate(lengths):
        for number in range(-(-n // size)):
            table[b, number] = page = next(pages)
            rows = x[b, number * size : min((number + 1) * size, n)]
            pool[page, : len(rows)] = rows
    return pool, table


def drawn(q_len: int, dtype: torch.dtype, kv_heads: int = 2, value_dim: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, q_len, 4, 8), (4, 40, kv_heads, 8), (4, 40, kv_heads, value_dim)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
