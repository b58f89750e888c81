"""The hypergraph partition: units as nodes, and for each unit of keys a net of the units whose queries see it.

A net that spans several ranks is sent to all but one of them, which is the objective that Mt-KaHyPar minimises (km1,
Gottesbüren et al. 2021). Its package is optional: pip install "attncc[hypergraph]".
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from attncc.distributed.schedules.adjacency import Adjacency
from attncc.errors import ConfigError, PlanError
from attncc.ir.tables import Array

#: Pairs of units beyond which partitioning takes minutes and gigabytes.
MOST_PINS = 1 << 22
#: A rank's load may exceed the mean by this share.
IMBALANCE = 0.05
#: Weights of nodes are rounded to so many steps of the mean.
STEPS = 1000


def hypergraph(adjacency: Adjacency, ranks: int, limit: int) -> Array:
    """Return the owner of each unit so that few units have to be sent; loads are equal mixes of tokens and work.

    The same in every process: the deterministic preset on one thread. Raises ConfigError where the package is missing,
    and PlanError for too many pairs of units, or if a rank gets more than `limit` tokens.
    """
    if ranks == 1:
        return np.zeros(adjacency.cut.count, np.int64)
    library, start = _library()
    nets = _nets(adjacency)
    context = start.context_from_preset(library.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(ranks, IMBALANCE, library.Objective.KM1)
    context.logging = False
    sizes = adjacency.cut.sizes
    weights = sizes / sizes.mean() + adjacency.work / max(adjacency.work.mean(), 1e-30)
    library.set_seed(0)
    graph = start.create_hypergraph(
        context,
        adjacency.cut.count,
        len(nets),
        [net.tolist() for net in nets],
        np.ceil(weights * STEPS / 2).astype(np.int64).tolist(),
        sizes.tolist(),
    )
    owner = np.array(graph.partition(context).get_partition(), np.int64)
    _check_tokens(np.bincount(owner, sizes, ranks), limit)
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
    itself = np.arange(adjacency.cut.count)
    parts = [(itself, itself), *(strip.expanded() for strip in adjacency.strips)]
    query, key = (np.concatenate(each) for each in zip(*parts, strict=True))
    pair = np.unique(key * adjacency.cut.count + query)
    return np.split(pair % adjacency.cut.count, np.searchsorted(pair, itself[1:] * adjacency.cut.count))


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
            rule="It takes Mt-KaHyPar, which attncc doesn't install by itself.",
            fix='pip install "attncc[hypergraph]", or choose another partition.',
        ) from None
    return mtkahypar, mtkahypar.initialize(1)
