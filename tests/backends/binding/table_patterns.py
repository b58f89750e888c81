"""Patterns that tables decide, one for each kind of relation, with tables drawn for a length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np

import attncc
from attncc.frontend.patterns import Pattern

Draw = Callable[[np.random.Generator, int], Pattern]


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return ids[i] == ids[j]


@attncc.pattern
def alike_in_both(i, j, *, a: attncc.Table, c: attncc.Table):
    return (a[i] == a[j]) & (c[i] == c[j]) & (j <= i)


@attncc.pattern
def between(i, j, *, start: attncc.Table, stop: attncc.Table):
    return (start[i] <= j) & (j < stop[i])


@attncc.pattern
def valid_keys(i, j, *, valid: attncc.Table):
    return valid[j] & (i - j < 30)


@attncc.pattern
def up_to(i, j, *, lengths: attncc.Table):
    return (j < lengths[0]) & (j <= i)


@attncc.pattern
def some_global(i, j, *, globals: attncc.Table):
    return globals[i] | globals[j] | (abs(i - j) < 9)


@attncc.pattern
def tree(i, j, *, enter: attncc.Table, leave: attncc.Table):
    return (enter[j] <= enter[i]) & (enter[i] < leave[j])


@attncc.pattern
def near(i, j, *, buckets: attncc.Table):
    return abs(buckets[i] - buckets[j]) <= 1


@attncc.pattern
def blocks(i, j, *, layout: attncc.Table):
    return layout[i // 8, j // 8] & (j <= i)


@attncc.pattern
def chosen(i, j, *, entries: attncc.Lists):
    return (j // 8).isin(entries[i // 8]) & (j <= i)


@attncc.pattern
def chosen_by_keys(i, j, *, entries: attncc.Lists):
    return (i // 4).isin(entries[j])


@attncc.pattern
def claimed(
    i,
    j,
    *,
    start: Annotated[attncc.Table, attncc.Sorted(), attncc.Bounds(minimum=0)],
    order: Annotated[attncc.Table, attncc.Distinct()],
):
    return (start[i] <= j) & (order[j] <= order[i])


def documents(draw: np.random.Generator, length: int) -> Pattern:
    return alike(ids=np.sort(draw.integers(0, 4, length))).causal()


def subtrees(draw: np.random.Generator, length: int) -> Pattern:
    enter = np.arange(length)
    return tree(enter=enter, leave=enter + draw.integers(1, 1 + length, length))


def packed(pattern: Pattern) -> Draw:
    """Return a drawing of documents that each have a pattern."""

    def drawn(draw: np.random.Generator, length: int) -> Pattern:
        ends = [0, *np.sort(draw.integers(0, length, 3)), length]
        return attncc.Documents(ends).pattern(pattern)

    return drawn


def packed_intervals(draw: np.random.Generator, length: int) -> Pattern:
    ids = np.sort(draw.integers(0, 4, length))
    return between(start=np.searchsorted(ids, ids), stop=np.searchsorted(ids, ids, side="right"))


#: By name; `length` covers the positions of queries and of keys.
PATTERNS: dict[str, Draw] = {
    "documents": documents,
    "buckets in any order": lambda draw, n: alike(ids=draw.integers(0, 4, n)).causal(),
    "far apart ids": lambda draw, n: alike(ids=draw.integers(-(2**60), 2**60, 4)[draw.integers(0, 4, n)]),
    "two joins": lambda draw, n: alike_in_both(
        a=draw.integers(0, 3, n), c=draw.integers(-(2**50), 2**50, 2).repeat(n)[:n]
    ),
    "ids of each entry": lambda draw, n: alike(ids=draw.integers(0, 3, (2, n))),
    "ids of each head": lambda draw, n: alike(ids=draw.integers(0, 3, (1, 2, n))),
    "intervals": lambda draw, n: between(start=draw.integers(-2, n, n), stop=draw.integers(0, n + 3, n)),
    "packed intervals": packed_intervals,
    "padding": lambda draw, n: valid_keys(valid=draw.random((2, n)) < 0.5),
    "lengths": lambda draw, n: up_to(lengths=draw.integers(0, n, (2, 1))),
    "global tokens": lambda draw, n: some_global(globals=draw.random(n) < 0.1),
    "prefix tree": subtrees,
    "neighbouring buckets": lambda draw, n: near(buckets=draw.integers(0, 9, n)),
    "neighbouring buckets of each head": lambda draw, n: near(buckets=draw.integers(0, 9, (2, 2, n))),
    "block table": lambda draw, n: blocks(layout=draw.random((n // 8 + 1, n // 8 + 1)) < 0.3),
    "lists": lambda draw, n: chosen(entries=draw.integers(-2, n // 8 + 2, (n // 8 + 1, 3))),
    "lists of each head": lambda draw, n: chosen(entries=draw.integers(-2, n // 8 + 2, (2, 2, n // 8 + 1, 3))),
    "lists of keys": lambda draw, n: chosen_by_keys(entries=draw.integers(-2, n // 4 + 2, (n, 2))),
    "lists beside the own block": lambda draw, n: attncc.load(
        "moba", blocks=draw.integers(-1, n // 8 + 2, (n // 8 + 1, 3)), block=8, queries=8
    ),
    "listed tokens beside a window": lambda draw, n: attncc.load(
        "selected_tokens", tokens=draw.integers(-1, n, (n, 3)), window=5
    ),
    "heads of two kinds": lambda draw, n: attncc.per_head([documents(draw, n), near(buckets=draw.integers(0, 9, n))]),
    "claims": lambda draw, n: claimed(start=np.sort(draw.integers(0, n, n)), order=draw.permutation(n)),
    "window in documents": packed(attncc.load("sliding_window", window=9)),
    "strided in documents": packed(attncc.load("strided", l=4).union()),
    "sequences of own lengths": lambda draw, n: attncc.Sequences(
        draw.integers(0, n, 2), draw.integers(0, n, 2)
    ).pattern(attncc.load("sliding_window", window=7)),
    "others": lambda draw, n: ~documents(draw, n),
}
