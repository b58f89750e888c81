"""Intervals by table, and sets of keys that several lists name: what is visited is little more than what is seen."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.ir.tables import Array
from attncc.planner.pieces import Pieces
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem

N, BLOCK = 2048, 64
#: What a plan visits, in tiles of 64, to what it connects.
MOST = 1.5


@attncc.pattern
def interval(i, j, *, start: attncc.Table, stop: attncc.Table):
    return (start[i] <= j) & (j < stop[i])


@attncc.pattern
def rising(i, j, *, start: Annotated[attncc.Table, attncc.Sorted()], stop: Annotated[attncc.Table, attncc.Sorted()]):
    return (start[i] <= j) & (j < stop[i])


@attncc.pattern
def sorted_keys(i, j, *, times: Annotated[attncc.Table, attncc.Sorted()]):
    return (times[i] - 3 <= times[j]) & (times[j] <= times[i])


@attncc.pattern
def tree(i, j, *, enter: attncc.Table, leave: attncc.Table):
    return (enter[j] <= enter[i]) & (enter[i] < leave[j]) & (j <= i)


@attncc.pattern
def listed(i, j, *, a: attncc.Lists):
    return (j // BLOCK).isin(a[i // BLOCK])


@attncc.pattern
def either(i, j, *, a: attncc.Lists, c: attncc.Lists):
    return (j // BLOCK).isin(a[i // BLOCK]) | (j // BLOCK).isin(c[i // BLOCK])


@attncc.pattern
def sides(i, j, *, a: attncc.Lists, c: attncc.Lists):
    return (j // BLOCK).isin(a[i // BLOCK]) | (i // BLOCK).isin(c[j // BLOCK])


def lists(seed: int) -> Array:
    return np.random.default_rng(seed).integers(-1, N // BLOCK, (N // BLOCK, 5))


def rollouts(seed: int) -> dict[str, Array]:
    """Segments of 20 to 300 tokens, each continuing an earlier one, in the order of the tree."""
    draw = np.random.default_rng(seed)
    lengths: list[int] = []
    while sum(lengths) < N:
        lengths.append(int(draw.integers(20, 300)))
    children: dict[int, list[int]] = {}
    for segment in range(1, len(lengths)):
        children.setdefault(int(draw.integers(max(0, segment - 4), segment)), []).append(segment)
    enter, leave = {}, {}

    def visit(segment: int) -> None:
        enter[segment] = len(enter)
        for child in children.get(segment, []):
            visit(child)
        leave[segment] = len(enter)

    visit(0)
    at = np.concatenate([np.full(lengths[segment], segment) for segment in enter])[:N]
    return {"enter": np.vectorize(enter.get)(at), "leave": np.vectorize(leave.get)(at)}


def documents() -> dict[str, Array]:
    ends = np.append(np.cumsum(np.random.default_rng(0).integers(200, 500, 12)), N)
    ends = ends[: np.searchsorted(ends, N) + 1].clip(max=N)
    at = np.searchsorted(ends, np.arange(N), side="right")
    return {"start": np.append(0, ends)[at], "stop": ends[at]}


def shuffled() -> dict[str, Array]:
    start = np.random.default_rng(0).integers(0, N - 300, N)
    return {"start": start, "stop": start + 300}


PATTERNS = {
    "documents": interval(**documents()),
    "other documents": ~interval(**documents()),
    "earlier documents": (~interval(**documents())).causal(),
    "intervals in any order": interval(**shuffled()),
    "rollouts": tree(**rollouts(0)),
    "two lists": either(a=lists(0), c=lists(1)),
    "two lists, causal": either(a=lists(0), c=lists(1)).causal(),
    "lists of either side": sides(a=lists(0), c=lists(1)),
    "all but listed": ~listed(a=lists(0)),
    "all but listed, causal": (~listed(a=lists(0))).causal(),
    "listed but not by another": listed(a=lists(0)) & ~listed(a=lists(1)),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_little_more_is_visited_than_seen(name: str) -> None:
    plan = attncc.plan(PATTERNS[name], N, tile=(BLOCK, BLOCK))
    check_plan(plan, attncc.dense_mask(PATTERNS[name], N).numpy())
    assert sum(work.tiles.visited for work in plan.all_passes()) <= MOST * plan.nnz


def test_rows_are_sorted_by_where_their_keys_begin() -> None:
    [work] = attncc.plan(PATTERNS["intervals in any order"], N, tile=(BLOCK, BLOCK)).all_passes()
    assert (work.rows.kind, work.cols.kind) == ("sorted", "identity")


ENDS = st.lists(st.tuples(st.integers(-3, 50), st.integers(0, 20)), min_size=1, max_size=50)


@given(ENDS)
def test_intervals_in_any_order_connect_what_numpy_connects(ends: list[tuple[int, int]]) -> None:
    start, length = np.array(ends).T
    n = len(ends)
    pattern, keys = interval(start=start, stop=start + length), np.arange(n)
    mask = (start[:, None] <= keys) & (keys < (start + length)[:, None])
    check_plan(attncc.plan(pattern, n, tile=(8, 8)), mask)
    problem = Problem.drawn(n, n, batch=1, heads=1, head_dim=8, dtype=torch.float64)
    check_attention(pattern, torch.from_numpy(mask)[None, None], problem)


@given(ENDS)
def test_claimed_tables_connect_what_numpy_connects(ends: list[tuple[int, int]]) -> None:
    start, length = np.array(ends).T
    start, stop = np.sort(start), np.sort(start + length)
    n, keys = len(ends), np.arange(len(ends))
    mask = (start[:, None] <= keys) & (keys < stop[:, None])
    check_plan(attncc.plan(rising(start=start, stop=stop), n, tile=(8, 8)), mask)
    mask = (start[:, None] - 3 <= start) & (start <= start[:, None])
    check_plan(attncc.plan(sorted_keys(times=start), n, tile=(8, 8)), mask)


def test_limits_that_are_claimed_to_rise_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> Pieces:
        raise AssertionError("The limits were taken apart into pieces.")

    monkeypatch.setattr("attncc.planner.layout.pieces_of", refused)
    tables = {name: np.sort(table) for name, table in shuffled().items()}
    attncc.plan(rising(**tables), N).all_passes()
    with pytest.raises(AssertionError, match="into pieces"):
        attncc.plan(interval(**documents()), N).all_passes()
