"""Prefixes: those that a sequence sees both ways, and those that sequences share."""

from __future__ import annotations

import attncc
from attncc import Condition, Index, Table
from attncc_serving import examples


@attncc.pattern(example=examples.lengths)
def prefix_lm(i: Index, j: Index, b: Index, *, lengths: Table) -> Condition:
    """The first lengths[b] keys for every query, causal after them (Raffel et al. 2020, section 3.2.1).

    `lengths` is (B,), a number for each batch entry; a single number for all is the pattern `prefix`.
    """
    seen: Condition = (j < lengths[b]) | (j <= i)
    return seen


@attncc.pattern(example=examples.continuations)
def shared_prefix(i: Index, j: Index, *, ids: Table) -> Condition:
    """Several continuations of one prefix, laid end to end: each sees the prefix and its own past.

    ids[i] is -1 in the prefix, and the number of the continuation after it (Juravsky et al. 2024, section 3).
    """
    seen: Condition = (j <= i) & ((ids[j] == -1) | (ids[i] == ids[j]))
    return seen
