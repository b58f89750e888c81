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
def strided_bidirectional(i: Index, j: Index, *, l: Positive = 128) -> tuple[Condition, Condition]:
    """The l positions on either side, and every l-th position: `strided`, not causal."""
    return abs(i - j) <= l, (i - j) % l == 0


@attncc.pattern
def fixed(
    i: Index, j: Index, h: Index, *, l: Positive = 128, c: Positive = 8, subblocks: Positive = 1
) -> tuple[Condition, Condition]:
    """The query's own block of l, and the last c positions of every block (Child et al. 2019, section 4.2).

    With several `subblocks`, heads take turns in pairs: heads 0 and 1 see the last c positions, heads 2 and 3 the c
    before them, and so on.
    """
    block, summary = _fixed(i, j, h, l, c, subblocks)
    return block & (j <= i), summary & (j <= i)


@attncc.pattern
def fixed_bidirectional(
    i: Index, j: Index, h: Index, *, l: Positive = 128, c: Positive = 8, subblocks: Positive = 1
) -> tuple[Condition, Condition]:
    """The query's own block of l, and c summary positions of every block: `fixed`, not causal."""
    return _fixed(i, j, h, l, c, subblocks)


def _fixed(i: Index, j: Index, h: Index, l: int, c: int, subblocks: int) -> tuple[Condition, Condition]:
    if c * subblocks > l:
        raise ParameterError(
            f"c={c} and subblocks={subblocks} with l={l}.",
            rule="The subblocks, of c summary positions each, lie inside a block of l.",
            fix="Use c * subblocks <= l.",
        )
    stop = l - h // 2 % subblocks * c
    return j // l == i // l, (stop - c <= j % l) & (j % l < stop)
