"""The cheapest cover against all covers."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.distributed.cover import cheapest_cover

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
def test_it_covers_every_pair_at_the_least_cost(graph):
    sees, query_cost, key_cost = graph
    pushed, pulled = cheapest_cover(*graph)
    assert not (sees & ~pushed[:, None] & ~pulled).any()
    assert query_cost[pushed].sum() + key_cost[pulled].sum() == least(*graph)


def test_a_query_that_sees_everything_is_pushed_and_a_window_pulls():
    sees = np.eye(4, 8, dtype=bool)
    sees[0] = True
    pushed, pulled = cheapest_cover(sees, np.full(4, 3), np.full(8, 2))
    assert pushed.tolist() == [True, False, False, False]
    assert pulled.tolist() == [False, True, True, True, False, False, False, False]


def test_what_sees_nothing_moves_nothing():
    pushed, pulled = cheapest_cover(np.zeros((3, 2), bool), np.ones(3, int), np.ones(2, int))
    assert not pushed.any()
    assert not pulled.any()
