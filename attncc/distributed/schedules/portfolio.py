"""The portfolio: ways to give units to ranks. No single one is best; `choose` scores them by predicted makespan."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.cut import Cut
from attncc.distributed.schedules.hypergraph import hypergraph
from attncc.distributed.schedules.partition import Partition
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner.axis import Axis
from attncc.planner.search import layouts, possible_clauses
from attncc.planner.shape import Shape

#: A way: (adjacency, ranks, most tokens of a rank) to the owner of each unit.
Way = Callable[[Adjacency, int, int], Array]


def contiguous(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Neighbouring units together, about equal numbers of tokens."""
    return _quantiles(adjacency.cut.sizes, ranks)


def zigzag(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Rank r gets parts r and 2P-1-r of 2P, so that causal work is equal (Megatron's and Zhu's zigzag ring)."""
    part = _quantiles(adjacency.cut.sizes, 2 * ranks)
    owner: Array = np.minimum(part, 2 * ranks - 1 - part)
    return owner


def strided(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Unit u goes to rank u mod P (Brandon et al. 2023, striped attention, by units)."""
    return np.arange(adjacency.cut.count) % ranks


def balanced(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Neighbouring units together, the largest work of a rank as small as `limit` tokens a rank allow."""
    work, sizes = adjacency.work, adjacency.cut.sizes
    low, high = work.sum() / ranks, float(work.sum()) + 1.0
    best = contiguous(adjacency, ranks, limit)
    for _ in range(40):
        middle = (low + high) / 2
        owner = _filled(work, sizes, middle, limit)
        if owner[-1] < ranks:
            high, best = middle, owner
        else:
            low = middle
    return best


def longest_first(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """The unit with the most work goes to the rank with the least, one after the other (Graham 1969)."""
    owner = np.zeros(adjacency.cut.count, np.int64)
    heap = [(0.0, 0, rank) for rank in range(ranks)]
    for unit in np.argsort(-adjacency.work, kind="stable"):
        full = []
        while heap[0][1] + adjacency.cut.sizes[unit] > limit and len(heap) > 1:
            full.append(heapq.heappop(heap))
        load, tokens, rank = heapq.heappop(heap)
        owner[unit] = rank
        heapq.heappush(heap, (load + adjacency.work[unit], int(tokens + adjacency.cut.sizes[unit]), rank))
        for each in full:
            heapq.heappush(heap, each)
    return owner


#: By the name that settings give them; those in an order of their own are made of these by a Problem.
WAYS: Mapping[str, Way] = {
    "contiguous": contiguous,
    "balanced": balanced,
    "zigzag": zigzag,
    "strided": strided,
    "longest_first": longest_first,
    "hypergraph": hypergraph,
}


def class_orders(predicates: Iterable[Predicate], shape: Shape) -> list[Array]:
    """Return the orders in which classes of a join lie together, of joins that class queries as they class keys."""
    found: dict[bytes, Array] = {}
    for predicate in predicates:
        for piece in _pieces(predicate, shape):
            layout = next(layouts(piece, shape))
            order = layout.cols.places
            whole = len(order) == shape.kv_len and np.array_equal(layout.rows.places, order)
            if layout.kind == "sorted" and whole:
                found[order.tobytes()] = order
    return list(found.values())


def _pieces(predicate: Predicate, shape: Shape) -> list[Clause]:
    """Return the clauses of a predicate, none where they are too many to look at."""
    try:
        return possible_clauses(predicate, shape)
    except TooManyClausesError:
        return []


def reordered(order: Array, size: int) -> Cut:
    """Return the cut of a sequence in an order."""
    return Cut(Axis(len(order), order), size)


def partition(name: str, adjacency: Adjacency, ranks: int, limit: int) -> Partition:
    """Return the partition of a way in WAYS; `limit` is the most tokens that a rank may own, where the way minds it."""
    return Partition(name, adjacency.cut, np.asarray(WAYS[name](adjacency, ranks, limit), np.int64), ranks)


def _quantiles(sizes: Array, parts: int) -> Array:
    """Return the part of each unit, of `parts` consecutive ones of about equal size."""
    middle = np.cumsum(sizes) - sizes / 2
    part: Array = np.minimum((middle * parts / max(sizes.sum(), 1)).astype(np.int64), parts - 1)
    return part


def _filled(work: Array, sizes: Array, most: float, limit: int) -> Array:
    """Fill one rank after the other with neighbouring units, up to `most` work and `limit` tokens."""
    before, tokens = np.concatenate([[0.0], np.cumsum(work)]), np.concatenate([[0], np.cumsum(sizes)])
    owner = np.empty(len(work), np.int64)
    first = rank = 0
    while first < len(work):
        by_work = np.searchsorted(before, before[first] + most, side="right") - 1
        by_size = np.searchsorted(tokens, tokens[first] + limit, side="right") - 1
        last = max(int(min(by_work, by_size)), first + 1)
        owner[first:last] = rank
        first, rank = last, rank + 1
    return owner
