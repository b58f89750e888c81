"""Routes: in which round, and from which rank, units reach the ranks that demand them."""

from __future__ import annotations

import numpy as np

from attncc.distributed.schedules.exchange import Demand
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Moves
from attncc.ir.tables import Array
from attncc.planner.order import opens, order_by


def direct(demand: Demand, partition: Partition, stages: int) -> Moves:
    """Send every unit from its owner, in `stages` rounds of about equal bytes a rank, the nearest owners first.

    There are at most as many stages as units: more would leave rounds empty.
    """
    stages = min(stages, partition.chunking.count)
    source = partition.owner[demand.unit]
    distance = (demand.rank - source) % partition.ranks
    order = order_by(demand.rank, distance, demand.unit)
    size = partition.chunking.sizes[demand.unit][order]
    before = np.cumsum(size) - size
    first = np.searchsorted(demand.rank[order], np.arange(partition.ranks + 1))
    total = np.bincount(demand.rank, partition.chunking.sizes[demand.unit], partition.ranks)
    rank = demand.rank[order]
    start = np.append(before, 0)[np.minimum(first[:-1], len(before))]
    position = np.maximum(before - start[rank], 0)
    number = np.minimum(position * stages // np.maximum(total[rank], 1), stages - 1).astype(np.int64)
    return Moves.of(number + 1, source[order], rank, demand.unit[order])


def ring(demand: Demand, partition: Partition) -> Moves:
    """Pass every unit on from rank to rank, over those that demand it, in the order of their numbers from its owner."""
    owner = partition.owner[demand.unit]
    distance = (demand.rank - owner) % partition.ranks
    order = order_by(demand.unit, distance)
    unit, rank = demand.unit[order], demand.rank[order]
    starts = opens(unit)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(unit)), 0))
    source = np.where(starts, owner[order], np.roll(rank, 1))
    return Moves.of(np.arange(len(unit)) - first + 1, source, rank, unit)


def tree(demand: Demand, partition: Partition, node_of: Array, fanout: int) -> Moves:
    """Send units over the nodes of the ranks that demand them as a tree, and inside a node from the rank that got it.

    In a round, a rank that has a unit sends it to at most `fanout` other nodes; once a node has it, its other ranks
    get it in the next round. The other ranks of the owner's node get it in round 1.
    """
    owner = partition.owner[demand.unit]
    home = node_of[demand.rank] == node_of[owner]
    near = (np.ones(int(home.sum()), np.int64), owner[home], demand.rank[home], demand.unit[home])
    far = _trees(demand.unit[~home], owner[~home], demand.rank[~home], node_of, fanout)
    return Moves.of(*(np.concatenate(column) for column in zip(near, far, strict=True)))


def _trees(unit: Array, owner: Array, rank: Array, node_of: Array, fanout: int) -> tuple[Array, Array, Array, Array]:
    """Return (round, source, target, unit) of the trees of all units over nodes that aren't their owners'."""
    order = order_by(unit, node_of[rank], rank)
    unit, owner, rank = unit[order], owner[order], rank[order]
    leads = opens(unit, node_of[rank])
    node, leader = np.cumsum(leads) - 1, rank[leads]  # node[row]: the entry of `leader`, one for each node and unit
    first = np.maximum.accumulate(np.where(opens(unit[leads]), np.arange(len(leader)), 0))
    round, holder = (column[np.arange(len(leader)) - first] for column in _growth(len(leader), fanout))
    sender = np.where(holder == 0, owner[leads], leader[first + holder - 1])
    return round[node] + ~leads, np.where(leads, sender[node], leader[node]), rank, unit


def _growth(count: int, fanout: int) -> tuple[Array, Array]:
    """Return the round in which each node of a tree is reached, and from which: 0 for the owner, n + 1 for node n."""
    round, holder = np.empty(count, np.int64), np.empty(count, np.int64)
    done = number = 0
    while done < count:
        number += 1
        many = min(fanout * (done + 1), count - done)
        round[done : done + many], holder[done : done + many] = number, np.arange(many) % (done + 1)
        done += many
    return round, holder
