"""Covers: for the units of two ranks that see each other, which queries or keys travel so that every pair meets."""

from __future__ import annotations

import networkx as nx
import numpy as np

from attncc.ir.tables import Array


def cheapest_cover(sees: Array, query_cost: Array, key_cost: Array) -> tuple[Array, Array]:
    """Return the masks (queries that travel, keys that travel) of least total cost that cover every True of `sees`.

    sees: bool (Q, K); costs: positive integers (Q,) and (K,). It is a minimum-weight vertex cover of a bipartite graph
    (König 1931), found as a minimum cut after queries that can't pay have been taken out.
    """
    each = int(query_cost.min() // key_cost.max()) if sees.size else 0
    if _matched(sees, each):
        return np.zeros(len(sees), bool), np.asarray(sees.any(0))
    pushed, pulled = _reduced(sees, query_cost, key_cost)
    left = sees & ~pulled & pushed[:, None]  # `pushed` is open so far
    rows, cols = np.flatnonzero(left.any(1)), np.flatnonzero(left.any(0))
    if not len(rows):
        return np.zeros(len(sees), bool), pulled
    chosen, taken = _cut(left[np.ix_(rows, cols)], query_cost[rows], key_cost[cols])
    found = np.zeros(len(sees), bool)
    found[rows[chosen]] = True
    pulled[cols[taken]] = True
    return found, pulled


def _matched(sees: Array, each: int) -> bool:
    """Return whether, greedily, each key that is seen gets a query, and no query more than `each`: what they can pay.

    Then no set of queries is cheaper than the keys that it would save.
    """
    columns = [int.from_bytes(column.tobytes(), "little") for column in np.packbits(sees.T, axis=1, bitorder="little")]
    free = [(1 << len(sees)) - 1] * each
    for column in sorted(filter(None, columns), key=int.bit_count):
        level = next((k for k in range(each) if column & free[k]), None)
        if level is None:
            return False
        candidates = column & free[level]
        free[level] ^= candidates & -candidates
    return True


def _reduced(sees: Array, query_cost: Array, key_cost: Array) -> tuple[Array, Array]:
    """Return the queries that may still travel, and the keys that must: those of a query whose keys cost no more.

    Keys that travel anyway cost nothing more, so a query may come to be worth less when others are settled.
    """
    open_ = np.asarray(sees.any(1))
    pulled: Array = np.zeros(sees.shape[1], bool)
    while True:
        worth = (sees & ~pulled) @ key_cost
        settled = open_ & (worth <= query_cost)
        if not settled.any():
            return open_, pulled
        pulled |= sees[settled].any(0)
        open_ &= ~settled


def _cut(sees: Array, query_cost: Array, key_cost: Array) -> tuple[Array, Array]:
    """Return numbers of (queries, keys) by a minimum cut; alike ones are one node."""
    rows, row_of = np.unique(sees, axis=0, return_inverse=True)
    cols, col_of = np.unique(rows, axis=1, return_inverse=True)
    graph = nx.DiGraph()
    for node, cost in enumerate(np.bincount(row_of.reshape(-1), query_cost)):
        graph.add_edge("source", ("query", node), capacity=int(cost))
    for node, cost in enumerate(np.bincount(col_of.reshape(-1), key_cost)):
        graph.add_edge(("key", node), "sink", capacity=int(cost))
    graph.add_edges_from((("query", int(r)), ("key", int(c))) for r, c in np.argwhere(cols))
    reachable = nx.minimum_cut(graph, "source", "sink")[1][0]
    cut_rows = np.array([("query", r) not in reachable for r in range(len(rows))])
    cut_cols = np.array([("key", c) in reachable for c in range(cols.shape[1])])
    return np.flatnonzero(cut_rows[row_of.reshape(-1)]), np.flatnonzero(cut_cols[col_of.reshape(-1)])
