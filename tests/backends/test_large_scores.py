"""Rows whose scores are one large finite number: only -inf masks."""

from __future__ import annotations

import math

import pytest
import torch

import attncc
from attncc import backends
from attncc.testing.oracle import Problem

LENGTH = 40
BACKENDS = [name for name, problem in backends.report() if problem is None]
CAUSAL = attncc.load("causal")


@attncc.score
def tabled(i, j, *, table: attncc.Weights):
    """An additive mask."""
    return table[i, j]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("trained", [False, True])
def test_a_table_of_the_least_float_averages_the_values_of_its_rows(
    backend: str, dtype: torch.dtype, trained: bool
) -> None:
    """Gradients of the table take another path through the torch backend."""
    problem = Problem.drawn(LENGTH, LENGTH, heads=2, kv_heads=1, batch=2, dtype=dtype)
    table = torch.zeros(LENGTH, LENGTH, dtype=dtype)
    table[::2] = torch.finfo(dtype).min
    table[1::2, ::3] = torch.finfo(dtype).min
    table[3] = -math.inf  # only this masks
    leaves = [x.requires_grad_() for x in (problem.query, problem.key, problem.value)]
    score = tabled(table=table.requires_grad_(trained))
    run = attncc.compile(CAUSAL, score=score, enable_gqa=True, return_lse=True, backend=backend)
    out, lse = run(*leaves)
    mask = attncc.dense_mask(CAUSAL, LENGTH)
    wide = [x.detach().double().requires_grad_() for x in leaves]
    # The rule: scores are rounded to float32 before the softmax.
    products = (wide[0] @ wide[1].repeat_interleave(2, 1).mT) / 4
    rounded = (products.detach().float() + table.detach().float()).masked_fill(~mask, -math.inf).double()
    scores = products + (rounded - products.detach())
    seen = (rounded > -math.inf).any(-1, keepdim=True)
    scores = torch.where(rounded > -math.inf, scores, -math.inf).masked_fill(~seen, 0.0)
    wanted = (torch.softmax(scores, -1) * seen) @ wide[2].repeat_interleave(2, 1)
    tolerance = {"rtol": 0.0, "atol": 2e-6 if dtype == torch.float32 else 4e-3}
    torch.testing.assert_close(out.double(), wanted, **tolerance)
    assert torch.equal(lse == -math.inf, (~seen[..., 0]).expand_as(lse))
    found = torch.autograd.grad(out, leaves, problem.grad_out)
    for a, b in zip(found, torch.autograd.grad(wanted, wide, problem.grad_out.double()), strict=True):
        torch.testing.assert_close(a.double(), b, **tolerance)
