"""The patterns of "Reformer: The Efficient Transformer" (Kitaev et al. 2020)."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Table


@attncc.pattern
def lsh(i: Index, j: Index, *, queries: Table, keys: Table) -> Condition:
    """Keys in the query's bucket, h(q_i) = h(k_j) (Kitaev et al. 2020, section 2).

    The tables are buckets, (N,), or (B, H, N) for hashes of each entry and head. Rounds are joined by `|`. With shared
    queries and keys both tables are one.
    """
    same: Condition = queries[i] == keys[j]
    return same


@attncc.pattern
def lsh_chunks(i: Index, j: Index, *, chunks: Table, count: Annotated[int, Bounds(minimum=1)]) -> Condition:
    """Keys in the query's chunk of the order sorted by bucket, or in the one before (Kitaev et al. 2020, figure 2).

    The table has the chunk of each token, 0 to count - 1. The first chunk looks back at the last one.
    """
    seen: Condition = (chunks[i] == chunks[j]) | (chunks[i] == (chunks[j] + 1) % count)
    return seen


@attncc.pattern
def others(i: Index, j: Index) -> Condition:
    """Every key but the query's own: with shared queries and keys a token would see itself most of all."""
    return i != j
