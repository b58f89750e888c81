"""Attention to projected, pooled or kernelised keys: Linformer and linear attention."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Real


@attncc.pattern
def pooled(i: Index, j: Index, *, ratio: Annotated[int, Bounds(minimum=1)] = 16) -> Condition:
    """Keys whose block of `ratio` positions has ended: key j stands for positions j ratio to (j + 1) ratio - 1."""
    return (j + 1) * ratio <= i + 1


@attncc.score
def kernelised(score: Real) -> Real:
    """The logarithm of the products, whose softmax is linear attention (Katharopoulos et al. 2020, equation 4).

    Queries and keys are features, which are positive, and attention has scale=1.
    """
    return attncc.log(score)
