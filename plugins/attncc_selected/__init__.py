"""Keys that a model selects: blocks and tokens by scores. `attncc_selected.choosing` makes the lists."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Lists

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern
def moba(i: Index, j: Index, *, blocks: Lists, block: Positive = 64, queries: Positive = 1) -> Condition:
    """The query's own block, and earlier ones by lists: mixture of block attention (Lu et al. 2025, section 2.2).

    Row r of `blocks` is the list of queries r * queries and on, `queries` of them.
    """
    listed = (j // block).isin(blocks[i // queries])
    return (j <= i) & ((i // block == j // block) | listed)


@attncc.pattern
def selected_blocks(i: Index, j: Index, *, blocks: Lists, block: Positive = 64, queries: Positive = 1) -> Condition:
    """Earlier keys in listed blocks: native sparse attention's second branch (Yuan et al. 2025, section 3.3.2)."""
    return (j <= i) & (j // block).isin(blocks[i // queries])


@attncc.pattern
def compressed_blocks(i: Index, j: Index, *, block: Positive = 32, stride: Positive = 16) -> Condition:
    """Compressed keys of earlier positions: native sparse attention's first branch (Yuan et al. 2025, section 3.3.1).

    Key j stands for positions stride * j and on, `block` of them, and is seen from the last one on.
    """
    return stride * j + block <= i + 1


@attncc.pattern
def selected_tokens(i: Index, j: Index, *, tokens: Lists, window: Annotated[int, Bounds(minimum=0)] = 0) -> Condition:
    """Earlier keys that lists name, beside the last `window`: DeepSeek sparse attention (DeepSeek-AI 2025, V3.2)."""
    return (j <= i) & ((i - j < window) | j.isin(tokens[i]))
