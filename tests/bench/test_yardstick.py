"""The yardstick, which generated kernels are compared with, computes attention."""

from __future__ import annotations

import math

import pytest
import torch
import yardstick

from attncc.backends.triton import interpreter
from attncc.testing.oracle import Problem, dense


@pytest.mark.skipif(not interpreter.is_on(), reason="runs in triton's interpreter")
@pytest.mark.parametrize("causal", [False, True])
def test_yardstick_agrees_with_the_oracle(causal: bool) -> None:
    length, head_dim, heads = 128, 16, 2
    problem = Problem.drawn(length, length, heads=heads, kv_heads=heads, head_dim=head_dim, dtype=torch.float16)
    out = torch.full_like(problem.query, math.nan)
    lse = torch.full((heads, length), math.nan)
    scale = problem.scale * math.log2(math.e)
    yardstick.dense[(length // 32, heads)](
        problem.query,
        problem.key,
        problem.value,
        out,
        lse,
        length * head_dim,
        length,
        scale,
        HEAD_DIM=head_dim,
        BLOCK_M=32,
        BLOCK_N=16,
        CAUSAL=causal,
    )
    mask = torch.ones(length, length, dtype=torch.bool)
    expected = dense(problem.to(torch.float64), mask.tril() if causal else mask)
    torch.testing.assert_close(out.double(), expected.out, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(lse[None].double(), expected.lse, rtol=1e-3, atol=1e-3)
