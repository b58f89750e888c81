"""Small patterns of the literature in the triton backend, forward and gradients: tables by entry, lists by head."""

from __future__ import annotations

import pytest

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.backends.triton.config import KERNELS
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc_bigbird.blocks import etc, itc
from attncc_longformer.roles import token_roles

N = 48
ROLES = token_roles(N, [[0, 7], [20]], lengths=[N, 31])
PATTERNS = {
    "longformer": attncc.load("longformer", roles=ROLES, window=6, dilation=2),
    "bigbird": attncc.load("bigbird", **itc(N, block=4, random=2, heads=2)),
    "bigbird, extra tokens": attncc.load("bigbird_etc", **etc(N - 3, 3, block=4, random=1)),
}
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in "mn"}


@pytest.mark.parametrize("name", PATTERNS)
def test_families_agree_with_the_oracle(name: str, poisoned: None) -> None:
    pattern = PATTERNS[name]
    mask = as_broadcast(attncc.dense_mask(pattern, N, heads=2, batch=2), pattern)
    problem = Problem.drawn(N, N, batch=2, heads=2, kv_heads=1)
    check_attention(pattern, mask, problem, backend="triton", config=SMALL)
