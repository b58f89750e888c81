"""Routes: in which round, and from which rank, units reach the ranks that demand them."""

from __future__ import annotations

import numpy as np

from attncc.distributed.schedules.exchange import Demand
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Moves
from attncc.ir.tables import Array


def direct(demand: Demand, partition: Partition, stages: int) -> Moves:
    """Send every unit from its owner, in `stages` rounds of about equal bytes a rank, the nearest owners first.

    More stages than there are units would only leave rounds empty, and are taken as so many.
    """
    stages = min(stages, partition.cut.count)
    source = partition.owner[demand.unit]
    distance = (demand.rank - source) % partition.ranks
    order = np.lexsort((demand.unit, distance, demand.rank))
    size = partition.cut.sizes[demand.unit][order]
    before = np.cumsum(size) - size
    first = np.searchsorted(demand.rank[order], np.arange(partition.ranks + 1))
    total = np.bincount(demand.rank, partition.cut.sizes[demand.unit], partition.ranks)
    rank = demand.rank[order]
    start = np.append(before, 0)[np.minimum(first[:-1], len(before))]
    position = np.maximum(before - start[rank], 0)
    number = np.minimum(position * stages // np.maximum(total[rank], 1), stages - 1).astype(np.int64)
    return Moves.of(number + 1, source[order], rank, demand.unit[order])


def ring(demand: Demand, partition: Partition) -> Moves:
    """Pass every unit on from rank to rank, over those that demand it, in the order of their numbers from its owner."""
    owner = partition.owner[demand.unit]
    distance = (demand.rank - owner) % partition.ranks
    order = np.lexsort((distance, demand.unit))
    unit, rank = demand.unit[order], demand.rank[order]
    opens = np.diff(unit, prepend=-1) != 0
    first = np.maximum.accumulate(np.where(opens, np.arange(len(unit)), 0))
    source = np.where(opens, owner[order], np.concatenate([[0], rank[:-1]])[: len(rank)])
    return Moves.of(np.arange(len(unit)) - first + 1, source, rank, unit)


def tree(demand: Demand, partition: Partition, node_of: Array, fanout: int) -> Moves:
    """Spread units that many ranks demand over nodes as a tree, and inside a node from the one that got it.

    In a round, a rank that has a unit sends it to at most `fanout` other nodes; once a node has it, its other ranks
    get it in the next round. What one rank alone demands goes directly, in round 1.
    """
    alone = np.bincount(demand.unit, minlength=partition.cut.count)[demand.unit] == 1
    single = demand.unit[alone]
    parts = [np.column_stack([np.ones_like(single), partition.owner[single], demand.rank[alone], single])]
    shared, ranks = demand.unit[~alone], demand.rank[~alone]
    order = np.argsort(shared, kind="stable")
    opens = np.flatnonzero(np.diff(shared[order], prepend=-1))
    for members in np.split(order, opens[1:]) if len(order) else []:
        unit = int(shared[members[0]])
        parts.append(_spread(unit, int(partition.owner[unit]), ranks[members], node_of, fanout))
    return Moves.of(*np.concatenate(parts).T)


def _spread(unit: int, owner: int, ranks: Array, node_of: Array, fanout: int) -> Array:
    """Return (round, source, target, unit) of a unit's tree."""
    home = node_of[ranks] == node_of[owner]
    moves = [(1, owner, int(rank), unit) for rank in ranks[home]]
    leader = np.unique(node_of[ranks[~home]], return_index=True)[1]
    leaders = [int(ranks[~home][at]) for at in leader]
    holders, number = [owner], 0
    while leaders:
        number += 1
        targets = leaders[: fanout * len(holders)]
        leaders = leaders[len(targets) :]
        for at, target in enumerate(targets):
            moves.append((number, holders[at % len(holders)], target, unit))
            inside = ranks[(node_of[ranks] == node_of[target]) & (ranks != target)]
            moves += [(number + 1, target, int(rank), unit) for rank in inside]
        holders += targets
    return np.array(moves, np.int64).reshape(-1, 4)
