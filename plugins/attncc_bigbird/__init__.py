"""The patterns of "Big Bird: Transformers for Longer Sequences" (Zaheer et al. 2020)."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Lists, Table
from attncc_bigbird import examples

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern(example=examples.itc)
def bigbird(i: Index, j: Index, *, blocks: Lists, is_global: Table, block: Positive = 64) -> Condition:
    """BigBird-ITC: some blocks of tokens are global (section 2); `attncc_bigbird.blocks.itc` makes the parameters.

    For each block of queries `blocks` lists blocks of keys: its window, global and random ones, (blocks, K) or
    (B, H, blocks, K). Where `is_global`, (blocks,), a block of queries sees all.
    """
    everything: Condition = is_global[i // block]
    return everything | (j // block).isin(blocks[i // block])


@attncc.pattern(example=examples.etc)
def bigbird_etc(i: Index, j: Index, *, blocks: Lists, extra: Positive = 64, block: Positive = 64) -> Condition:
    """BigBird-ETC: `extra` global tokens before the sequence (section 2); `attncc_bigbird.blocks.etc` makes parameters.

    The blocks are those of the sequence behind them, and `blocks` lists their windows and random blocks.
    """
    listed = ((j - extra) // block).isin(blocks[(i - extra) // block])
    return (i < extra) | (j < extra) | ((i >= extra) & (j >= extra) & listed)
