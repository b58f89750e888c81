"""Head classes: which batch entries and key heads see alike, and the predicates of the query heads on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.schedule import HeadClassSchedule, Schedule
from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array
from attncc.planner.bound_groups import BoundPredicate, bound_groups
from attncc.planner.shape import Shape


@dataclass(frozen=True, eq=False)
class HeadClass:
    """Heads of batch entries that see alike.

    Attributes:
        members: (batch entry, key head) pairs, int64 (M, 2), or None for all `count` of them.
        seen: What the query heads of a member see, each with the number of heads that see that.
    """

    members: Array | None
    count: int
    seen: tuple[tuple[BoundPredicate, int], ...]


def head_classes(pattern: Pattern, length: int, inputs: Inputs) -> tuple[HeadClass, ...]:
    """Return the classes of a pattern over `length` tokens; a pattern without b and h has one."""
    shape = Shape.of(length, heads=inputs.heads, batch=inputs.batch).narrowed(pattern.free)
    groups = bound_groups(pattern, shape)
    number = np.zeros((inputs.batch, inputs.kv_heads, inputs.group), np.int64)
    of_head = number.reshape(inputs.batch, inputs.heads)
    for index, ((batches, heads), _) in enumerate(groups):
        rows = range(inputs.batch) if batches is None else batches
        cols = range(inputs.heads) if heads is None else heads
        of_head[np.ix_(rows, cols)] = index
    return tuple(_classes(number, [seen for _, seen in groups]))


def _classes(number: Array, seen: list[BoundPredicate]) -> Iterator[HeadClass]:
    """Part the pairs by what their query heads see; `number` (batch, key heads, group) says which."""
    rows, inverse = np.unique(number.reshape(-1, number.shape[2]), axis=0, return_inverse=True)
    pairs = np.indices(number.shape[:2]).reshape(2, -1).T
    for index, row in enumerate(rows):
        members = pairs[inverse.reshape(-1) == index]
        found, count = np.unique(row, return_counts=True)
        weighted = tuple((seen[at], int(n)) for at, n in zip(found, count, strict=True))
        yield HeadClass(None if len(rows) == 1 else members, len(members), weighted)


def localised(schedule: Schedule, entries: range, heads: range) -> Schedule:
    """Return the schedule of a shard of batch entries and key heads, numbered from 0; classes are products of both.

    The rounds stay, so that shards of one sequence group agree; some may have nothing to move any more.
    """
    parts = (part for each in schedule.head_classes for part in _localised(each, entries, heads))
    return replace(schedule, head_classes=tuple(parts))


def _localised(head_class: HeadClassSchedule, entries: range, heads: range) -> Iterator[HeadClassSchedule]:
    if head_class.members is None:
        yield head_class
        return
    by_heads: dict[tuple[int, ...], list[int]] = {}
    for entry in np.unique(head_class.members[:, 0]):
        own = head_class.members[head_class.members[:, 0] == entry, 1]
        kept = tuple(int(head) - heads.start for head in np.sort(own) if head in heads)
        if kept and entry in entries:
            by_heads.setdefault(kept, []).append(int(entry) - entries.start)
    for kept, found in by_heads.items():
        yield replace(head_class, members=np.array([(entry, head) for entry in found for head in kept], np.int64))
