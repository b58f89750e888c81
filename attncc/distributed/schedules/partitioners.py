"""Partitioners: ways to give units to ranks. No single one is best; `choose` scores them by predicted makespan."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.errors import ConfigError, PlanError
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.tables import Array
from attncc.planner.axis import Axis
from attncc.planner.bound_groups import BoundPredicate
from attncc.planner.search import layouts, possible_clauses
from attncc.planner.shape import Shape

#: Pairs of units beyond which partitioning takes minutes and gigabytes.
MOST_PINS = 1 << 22
#: A rank's load may exceed the mean by this share.
IMBALANCE = 0.05
#: Weights of nodes are rounded to this many steps of the mean.
STEPS = 1000
#: (adjacency, ranks, most tokens of a rank) to the owner of each unit.
Partitioner = Callable[[Adjacency, int, int], Array]


def contiguous(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Neighbouring units together, about equal numbers of tokens."""
    return _quantiles(adjacency.chunking.sizes, ranks)


def zigzag(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Rank r gets parts r and 2P-1-r of 2P, so that causal work is equal (Megatron's and Zhu's zigzag ring)."""
    part = _quantiles(adjacency.chunking.sizes, 2 * ranks)
    owner: Array = np.minimum(part, 2 * ranks - 1 - part)
    return owner


def block_cyclic(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Unit u goes to rank u mod P (block-cyclic, as of matrices in ScaLAPACK)."""
    return np.arange(adjacency.chunking.count) % ranks


def balanced(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Neighbouring units together, the largest work of a rank as small as `limit` tokens a rank allow."""
    work, sizes = adjacency.work, adjacency.chunking.sizes
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
    owner = np.zeros(adjacency.chunking.count, np.int64)
    heap = [(0.0, 0, rank) for rank in range(ranks)]
    for unit in np.argsort(-adjacency.work, kind="stable"):
        full = []
        while heap[0][1] + adjacency.chunking.sizes[unit] > limit and len(heap) > 1:
            full.append(heapq.heappop(heap))
        load, tokens, rank = heapq.heappop(heap)
        owner[unit] = rank
        heapq.heappush(heap, (load + adjacency.work[unit], int(tokens + adjacency.chunking.sizes[unit]), rank))
        for each in full:
            heapq.heappush(heap, each)
    return owner


def hypergraph(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Return the owner of each unit so that few units have to be sent; loads are equal mixes of tokens and work.

    The same in every process: the deterministic preset on one thread. Raises ConfigError where the package is missing,
    and PlanError for too many pairs of units, or if a rank gets more than `limit` tokens.
    """
    if ranks == 1:
        return np.zeros(adjacency.chunking.count, np.int64)
    library, start = _library()
    nets = _nets(adjacency)
    context = start.context_from_preset(library.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(ranks, IMBALANCE, library.Objective.KM1)
    context.logging = False
    sizes = adjacency.chunking.sizes
    weights = sizes / sizes.mean() + adjacency.work / max(adjacency.work.mean(), 1e-30)
    library.set_seed(0)
    graph = start.create_hypergraph(
        context,
        adjacency.chunking.count,
        len(nets),
        [net.tolist() for net in nets],
        np.ceil(weights * STEPS / 2).astype(np.int64).tolist(),
        sizes.tolist(),
    )
    owner = np.array(graph.partition(context).get_partition(), np.int64)
    _check_tokens(np.bincount(owner, sizes, ranks), limit)
    return owner


#: By their name in Settings; a PartitioningProblem makes those in another order of these.
PARTITIONERS: Mapping[str, Partitioner] = {
    "contiguous": contiguous,
    "balanced": balanced,
    "zigzag": zigzag,
    "block_cyclic": block_cyclic,
    "longest_first": longest_first,
    "hypergraph": hypergraph,
}


def class_orders(seen: Iterable[BoundPredicate], shape: Shape) -> list[Array]:
    """Return the orders in which classes of a join lie together, of joins that class queries as they class keys."""
    found: dict[bytes, Array] = {}
    for each in seen:
        for piece in _pieces(each, shape):
            layout = next(layouts(piece, shape))
            order = layout.cols.places
            whole = len(order) == shape.kv_len and np.array_equal(layout.rows.places, order)
            if layout.kind == "sorted" and whole:
                found[order.tobytes()] = order
    return list(found.values())


def _pieces(seen: BoundPredicate, shape: Shape) -> list[Clause]:
    """Return the clauses of a predicate, or nothing if there are too many."""
    try:
        return possible_clauses(seen.predicate, shape, seen.tables)
    except TooManyClausesError:
        return []


def reordered(order: Array, size: int) -> Chunking:
    """Return the chunking of a sequence in an order."""
    return Chunking(Axis(len(order), order), size)


def partition(name: str, adjacency: Adjacency, ranks: int, limit: int) -> Partition:
    """Return the partition of one of PARTITIONERS; `limit`: the most tokens of a rank, where it matters."""
    return Partition(name, adjacency.chunking, np.asarray(PARTITIONERS[name](adjacency, ranks, limit), np.int64), ranks)


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


def _nets(adjacency: Adjacency) -> list[Array]:
    """Return for each unit the units that its keys must meet, itself included."""
    pins = sum(int((strip.stop - strip.start).sum()) for strip in adjacency.strips)
    if pins > MOST_PINS:
        raise PlanError(
            f"{pins:,} pairs of units for a hypergraph.",
            rule=f"At most {MOST_PINS:,} are partitioned.",
            fix="Take larger units, or another partition: a dense pattern has no cheap cut.",
        )
    itself = np.arange(adjacency.chunking.count)
    parts = [(itself, itself), *(strip.expanded() for strip in adjacency.strips)]
    query, key = (np.concatenate(each) for each in zip(*parts, strict=True))
    pair = np.unique(key * adjacency.chunking.count + query)
    return np.split(pair % adjacency.chunking.count, np.searchsorted(pair, itself[1:] * adjacency.chunking.count))


def _check_tokens(tokens: Array, limit: int) -> None:
    if tokens.max() > limit:
        raise PlanError(
            f"The hypergraph's partition gives a rank {int(tokens.max()):,} tokens.",
            rule=f"A rank owns at most {limit:,}, its share times the slack.",
            fix="Allow more slack, or take another partition.",
        )


@cache
def _library() -> tuple[Any, Any]:
    """Return the package and its initialiser, which a process calls once."""
    try:
        import mtkahypar
    except ImportError as error:
        raise ConfigError(
            f"partition='hypergraph': {error}.",
            rule="It needs Mt-KaHyPar, which attncc doesn't install by itself.",
            fix='pip install "attncc[hypergraph]", or choose another partition.',
        ) from None
    return mtkahypar, mtkahypar.initialize(1)
