"""The factorised patterns of "Generating Long Sequences with Sparse Transformers" (Child et al. 2019)."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, ParameterError

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern
def strided(i: Index, j: Index, *, l: Positive = 128) -> tuple[Condition, Condition]:
    """The last l positions, and every l-th position before them (Child et al. 2019, section 4.2)."""
    window = (i - l <= j) & (j <= i)
    column = ((i - j) % l == 0) & (j <= i)
    return window, column


@attncc.pattern
def fixed(i: Index, j: Index, *, l: Positive = 128, c: Positive = 8) -> tuple[Condition, Condition]:
    """The query's own block of l, and the last c positions of every block (Child et al. 2019, section 4.2)."""
    if c > l:
        raise ParameterError(
            f"c={c} with l={l}.", rule="The c summary positions lie inside a block of l.", fix="Use c <= l."
        )
    block = (j // l == i // l) & (j <= i)
    summary = (j % l >= l - c) & (j <= i)
    return block, summary
