"""Lane classes: which batch entries and key heads see alike, and the predicates of the query heads on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H
from attncc.ir.tables import Array
from attncc.patterns import Pattern
from attncc.planner.search import shared
from attncc.planner.shape import Shape


@dataclass(frozen=True, eq=False)
class Alike:
    """(batch entry, key head) pairs, int64 (M, 2) or None for all, and (predicate, number of heads) of all of them."""

    members: Array | None
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
        weighted = tuple((predicates[at], int(n) * len(members)) for at, n in zip(found, count, strict=True))
        yield Alike(None if len(rows) == 1 else members, weighted)
