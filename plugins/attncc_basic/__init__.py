"""The everyday patterns: full and causal attention, windows, prefixes, documents and blocks."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Table
from attncc_serving import speculative_tree as speculative_tree  # where it was declared first

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern
def full(j: Index) -> Condition:
    """Every query sees every key."""
    return j >= 0


@attncc.pattern
def causal(i: Index, j: Index) -> Condition:
    """Every query sees itself and what came before: j <= i."""
    return j <= i


@attncc.pattern
def sliding_window(i: Index, j: Index, *, window: Positive = 256) -> Condition:
    """The last `window` positions, the query's own included: i - window < j <= i (Beltagy et al. 2020, causal)."""
    return (i - window < j) & (j <= i)


@attncc.pattern
def dilated_window(i: Index, j: Index, *, window: Positive = 256, dilation: Positive = 2) -> Condition:
    """The last `window` positions that are a multiple of `dilation` away (Beltagy et al. 2020, section 3.1)."""
    return (i - window * dilation < j) & (j <= i) & ((i - j) % dilation == 0)


@attncc.pattern
def prefix(i: Index, j: Index, *, length: Annotated[int, Bounds(minimum=0)] = 256) -> Condition:
    """The first `length` keys for every query, causal after them: a prefix language model (Raffel et al. 2020)."""
    return (j < length) | (j <= i)


@attncc.pattern
def document(i: Index, j: Index, *, ids: Table) -> Condition:
    """Keys of the query's own document, `ids[i] == ids[j]`; add .causal() for a language model on packed documents."""
    same: Condition = ids[i] == ids[j]
    return same


@attncc.pattern
def block_diagonal(i: Index, j: Index, *, block: Positive = 256) -> Condition:
    """Keys of the query's own block of `block` positions (Qiu et al. 2019, identity permutation)."""
    return i // block == j // block
