"""Packed documents for varlen_attention(), and dense attention in a loop over them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

import attncc

CAUSAL = attncc.load("causal")
WINDOW = attncc.load("sliding_window", window=5)
#: Lengths of queries and keys of documents: some longer, some empty.
LENGTHS = ([5, 0, 17, 1, 9], [8, 4, 17, 0, 3])
HEADS, HEAD_DIM, VALUE_DIM = 4, 8, 6
SLOPES = torch.linspace(0.1, 0.4, HEADS, dtype=torch.float64)


def ends(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)


def drawn(kv_heads: int = HEADS, dtype: torch.dtype = torch.float64, lengths=LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(sum(lengths[0]), HEADS, HEAD_DIM), (sum(lengths[1]), kv_heads, HEAD_DIM)]
    sizes.append((sum(lengths[1]), kv_heads, VALUE_DIM))
    made = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    return [x.to(dtype).requires_grad_() for x in made]


def by_document(q: Tensor, k: Tensor, v: Tensor, mask_of, lengths=LENGTHS, formula=lambda scores, d, i, j: scores):
    """Return (out, lse) of dense attention in a loop over documents, the last query at the last key's position."""
    group, scale = q.shape[1] // k.shape[1], q.shape[2] ** -0.5
    outs, lses = [], []
    for d, (q_d, k_d, v_d) in enumerate(
        zip(q.split(lengths[0]), k.split(lengths[1]), v.split(lengths[1]), strict=True)
    ):
        k_d, v_d = k_d.repeat_interleave(group, 1), v_d.repeat_interleave(group, 1)
        i = torch.arange(len(q_d))[:, None] + len(k_d) - len(q_d)
        j = torch.arange(len(k_d))
        scores = formula(torch.einsum("qhd,khd->hqk", q_d, k_d) * scale, d, i, j)
        scores = scores.masked_fill(~mask_of(d, i, j), -math.inf)
        lse = scores.logsumexp(-1) if len(k_d) else scores.new_full(scores.shape[:2], -math.inf)
        weights = (scores - lse.masked_fill(lse == -math.inf, 0.0)[..., None]).exp()
        outs.append(torch.einsum("hqk,khd->qhd", weights, v_d))
        lses.append(lse)
    return torch.cat(outs), torch.cat(lses, 1)


def gradients(out: Tensor, lse: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    d_out, d_lse = (torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (out, lse))
    loss = (out * d_out.to(out)).sum() + (lse * d_lse.to(lse))[lse > -math.inf].sum()
    return list(torch.autograd.grad(loss, inputs, materialize_grads=True))


def check_close(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> None:
    tolerance = 64 * torch.finfo(dtype).eps
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)
