"""The cheapest cover, compared with all covers and with minimum cuts."""

from __future__ import annotations

import itertools
from unittest import mock

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.distributed.schedules import vertex_cover
from attncc.distributed.schedules.vertex_cover import cheapest_cover

COSTS = st.integers(1, 9)


@st.composite
def graphs(draw):
    queries, keys = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    sees = np.array(draw(st.lists(st.booleans(), min_size=queries * keys, max_size=queries * keys)))
    costs = [np.array(draw(st.lists(COSTS, min_size=n, max_size=n))) for n in (queries, keys)]
    return sees.reshape(queries, keys), *costs


def least(sees, query_cost, key_cost):
    """Cost of the best cover: for each set of queries, the keys that are left must travel."""
    subsets = itertools.product([False, True], repeat=len(query_cost))
    return min(query_cost[list(q)].sum() + key_cost[sees[~np.array(q)].any(0)].sum() for q in subsets)


@settings(deadline=None)
@given(graphs())
def test_covers_include_every_pair_at_the_least_cost(graph):
    sees, query_cost, key_cost = graph
    pushed, pulled = cheapest_cover(*graph)
    assert not (sees & ~pushed[:, None] & ~pulled).any()
    assert query_cost[pushed].sum() + key_cost[pulled].sum() == least(*graph)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("queries", "keys"), [(60, 90), (90, 60)])
@pytest.mark.parametrize("dearer", [1, 4, 16, 60])
def test_covers_cost_as_much_as_a_minimum_cut(density, queries, keys, dearer):
    """If queries are expensive enough, all keys travel; even shares may or may not prove it."""
    random = np.random.default_rng(keys)
    sees = random.random((queries, keys)) < density
    query_cost, key_cost = dearer * random.integers(1, 900, queries), random.integers(1, 900, keys)
    pushed, pulled = cheapest_cover(sees, query_cost, key_cost)
    assert not (sees & ~pushed[:, None] & ~pulled).any()
    assert query_cost[pushed].sum() + key_cost[pulled].sum() == minimum_cut(sees, query_cost, key_cost)


@pytest.mark.parametrize("more", [0, 1])
def test_one_unit_of_cost_decides(more):
    """Three queries see three keys, which cost as much together or one more: a near tie for even shares."""
    sees, third = np.ones((3, 3), bool), 10**9 // 3
    pushed, pulled = cheapest_cover(sees, np.full(3, third), np.array([third, third, third + more]))
    assert pushed.tolist() == [bool(more)] * 3
    assert pulled.tolist() == [not more] * 3


def test_even_shares_prove_covers_without_a_flow():
    """Each query sees several keys that no other query sees, and costs more than they do."""
    sees = np.repeat(np.eye(16, dtype=bool), 3, axis=1)
    sees[:, ::3] |= np.roll(sees[:, ::3], 1, axis=0)
    with mock.patch.object(vertex_cover, "_Flow"):
        pushed, pulled = cheapest_cover(sees, np.full(16, 12), np.full(48, 4))
    assert not pushed.any()
    assert pulled.all()


def minimum_cut(sees, query_cost, key_cost):
    graph = nx.DiGraph()
    graph.add_edges_from((("source", ("q", q), {"capacity": int(cost)}) for q, cost in enumerate(query_cost)))
    graph.add_edges_from(((("k", k), "sink", {"capacity": int(cost)}) for k, cost in enumerate(key_cost)))
    graph.add_edges_from((("q", int(q)), ("k", int(k))) for q, k in np.argwhere(sees))
    return nx.minimum_cut_value(graph, "source", "sink")


def test_global_queries_are_pushed_and_windows_pull():
    sees = np.eye(4, 8, dtype=bool)
    sees[0] = True
    pushed, pulled = cheapest_cover(sees, np.full(4, 3), np.full(8, 2))
    assert pushed.tolist() == [True, False, False, False]
    assert pulled.tolist() == [False, True, True, True, False, False, False, False]


def test_empty_patterns_move_nothing():
    pushed, pulled = cheapest_cover(np.zeros((3, 2), bool), np.ones(3, int), np.ones(2, int))
    assert not pushed.any()
    assert not pulled.any()
