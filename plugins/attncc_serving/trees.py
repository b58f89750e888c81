"""Trees: tokens that see those on the path to the root, told by nested intervals.

In a walk from the root, a node is entered as number `enter`, and `leave` is the number after those of its descendants.
"""

from __future__ import annotations

import attncc
from attncc import Condition, Index, Table
from attncc_serving import examples


@attncc.pattern(example=examples.segments)
def rollout_tree(i: Index, j: Index, *, enter: Table, leave: Table) -> Condition:
    """Rollouts that branch off one another: a token sees its own and the earlier tokens on the path to the root.

    Positions are (N,), or (B, N) for trees that differ; the tokens of a segment share `enter` and `leave`, and come
    after those of its ancestors. Branches don't see one another (Yao et al. 2024, section 3).
    """
    return (j <= i) & _is_ancestor(enter, leave, j, i)


@attncc.pattern(example=examples.drafts)
def speculative_tree(i: Index, j: Index, n_q: Index, n_k: Index, *, enter: Table, leave: Table) -> Condition:
    """A tree of draft tokens after a prefix: each sees the prefix, itself and its ancestors (Miao et al. 2024).

    The n_q queries are the draft tokens, and their keys are the last n_q. `enter` and `leave` of the draft tokens are
    (n_q,), or (B, n_q) for trees that differ. Drafts are told by their positions: q_offset is n_k - n_q. Queries at 0,
    where they stand without an offset, see the prefix and no draft.
    """
    first = n_k - n_q
    key, query = j - first, i - first
    ancestor = _is_ancestor(enter, leave, key, query)
    return (j < first) | ((j >= first) & (query >= 0) & (query < n_q) & ancestor)


def _is_ancestor(enter: Table, leave: Table, node: Index, of: Index) -> Condition:
    """Return whether a node is an ancestor of another one, or the same."""
    ancestor: Condition = (enter[node] <= enter[of]) & (enter[of] < leave[node])
    return ancestor
