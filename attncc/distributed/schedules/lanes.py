"""Lane classes: which batch entries and key heads see alike, and the predicates of the query heads on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.schedule import Lane, Schedule
from attncc.frontend.patterns import Pattern
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H
from attncc.ir.tables import Array
from attncc.planner.search import shared
from attncc.planner.shape import Shape


@dataclass(frozen=True, eq=False)
class Alike:
    """(batch entry, key head) pairs, int64 (M, 2) or None for all `count` of them.

    predicates: (predicate, number of the query heads that share a key head and have it).
    """

    members: Array | None
    count: int
    predicates: tuple[tuple[Predicate, int], ...]


def alike(pattern: Pattern, length: int, inputs: Inputs) -> tuple[Alike, ...]:
    """Return the classes of a pattern over `length` tokens; a pattern without b and h has one."""
    free = pattern.predicate.free
    shape = Shape(length, length, 0, inputs.heads if H in free else 1, inputs.batch if B in free else 1)
    groups = shared(pattern.predicate, shape)
    number = np.zeros((inputs.batch, inputs.kv_heads, inputs.group), np.int64)
    of_head = number.reshape(inputs.batch, inputs.heads)
    for index, (batches, heads, _) in enumerate(groups):
        rows = range(inputs.batch) if batches is None else batches
        cols = range(inputs.heads) if heads is None else heads
        of_head[np.ix_(rows, cols)] = index
    return tuple(_classes(number, [predicate for _, _, predicate in groups]))


def _classes(number: Array, predicates: list[Predicate]) -> Iterator[Alike]:
    """Part the pairs by the predicates of their query heads; `number` (batch, key heads, group) says which."""
    rows, inverse = np.unique(number.reshape(-1, number.shape[2]), axis=0, return_inverse=True)
    pairs = np.indices(number.shape[:2]).reshape(2, -1).T
    for index, row in enumerate(rows):
        members = pairs[inverse.reshape(-1) == index]
        found, count = np.unique(row, return_counts=True)
        weighted = tuple((predicates[at], int(n)) for at, n in zip(found, count, strict=True))
        yield Alike(None if len(rows) == 1 else members, len(members), weighted)


def localised(schedule: Schedule, entries: range, heads: range) -> Schedule:
    """Return the schedule of a shard of batch entries and key heads, numbered from 0, each lane a product of both.

    The rounds stay, so that shards of one sequence group agree; some may have nothing to move any more.
    """
    return replace(schedule, lanes=tuple(part for lane in schedule.lanes for part in _localised(lane, entries, heads)))


def _localised(lane: Lane, entries: range, heads: range) -> Iterator[Lane]:
    if lane.members is None:
        yield lane
        return
    by_heads: dict[tuple[int, ...], list[int]] = {}
    for entry in np.unique(lane.members[:, 0]):
        own = lane.members[lane.members[:, 0] == entry, 1]
        kept = tuple(int(head) - heads.start for head in np.sort(own) if head in heads)
        if kept and entry in entries:
            by_heads.setdefault(kept, []).append(int(entry) - entries.start)
    for kept, found in by_heads.items():
        yield replace(lane, members=np.array([(entry, head) for entry in found for head in kept], np.int64))
