"""Block diffusion: blocks of tokens that are denoised in turn, each after the clean ones before it."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern
def block_diffusion(i: Index, j: Index, n_k: Index, *, block: Positive = 16) -> Condition:
    """Training over [x_t, x_0], n_k / 2 noisy positions and as many clean ones (Arriola et al. 2025).

    Noisy blocks see themselves and the clean blocks before them; clean blocks see clean ones up to themselves. Where
    n_k is odd, there is one clean position more: the last token, of which nothing is predicted.
    """
    n = n_k // 2
    own = (i // block == j // block) & (i < n) & (j < n)
    before = (i // block > (j - n) // block) & (i < n) & (n <= j)
    clean = ((i - n) // block >= (j - n) // block) & (n <= i) & (n <= j)
    return own | before | clean


@attncc.pattern
def block_causal(i: Index, j: Index, *, block: Positive = 16) -> Condition:
    """Sampling: the query's own block and all before it (Arriola et al. 2025)."""
    return j // block <= i // block
