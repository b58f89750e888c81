"""Covers: for the units of two ranks that see each other, which queries or keys travel so that every pair meets.

The cheapest choice is a minimum-weight vertex cover of a bipartite graph. By König's theorem (1931) it costs as much as
the greatest flow from keys to queries through the pairs, and what the keys that keep some of their supply still reach
tells it: queries in their reach travel, and keys out of it. Sets of queries are the bits of an integer here.

Mostly all keys travel. A flow that sends all of their costs to queries proves that nothing is cheaper, if no query gets
more than its own cost. Often the one that divides each key's cost evenly will do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attncc.ir.tables import Array


def cheapest_cover(sees: Array, query_cost: Array, key_cost: Array) -> tuple[Array, Array]:
    """Return the masks (queries that travel, keys that travel) of least total cost that cover every True of `sees`.

    Args:
        sees: Which query sees which key, bool (Q, K).
        query_cost, key_cost: Positive integers (Q,) and (K,).
    """
    if _all_keys_are_cheapest(sees, query_cost, key_cost):
        return np.zeros(len(query_cost), bool), np.asarray(sees.any(0))
    flow = _Flow.through(sees, query_cost.tolist(), key_cost.tolist())
    for key in sorted(range(len(flow.sees)), key=lambda key: flow.sees[key].bit_count()):
        flow.send(key)
    pushed = np.array([bool(flow.reached >> query & 1) for query in range(len(sees))], bool)
    return pushed, np.asarray((sees & ~pushed[:, None]).any(0))


@dataclass
class _Flow:
    """A flow in the making, from keys to queries.

    Attributes:
        sees: By key, the queries that see it.
        room: What each query can still take, `open` the queries that have any.
        given: By query, what it has from each key.
        supply: What each key has left.
        reached: Queries that can't get room any more, since nothing that a key with supply reaches has any.
    """

    sees: list[int]
    room: list[int]
    supply: list[int]
    given: list[dict[int, int]]
    open: int
    reached: int = 0

    @classmethod
    def through(cls, sees: Array, room: list[int], supply: list[int]) -> _Flow:
        """Return the empty flow."""
        columns = np.packbits(sees.T, axis=1, bitorder="little")
        masks = [int.from_bytes(column.tobytes(), "little") for column in columns]
        return cls(masks, room, supply, [{} for _ in room], (1 << len(room)) - 1)

    def send(self, key: int) -> None:
        """Send as much of a key's supply as can be sent."""
        while self.supply[key]:
            seen, path = self._search(key)
            if not path:
                self.reached |= seen  # what is left of the key is stuck here for good
                return
            self._shift(path, key)

    def _search(self, start: int) -> tuple[int, list[tuple[int, int]]]:
        """Return the queries that were reached, and a path of (query, key that gives to it) from one with room."""
        holder: dict[int, tuple[int, int]] = {}  # key: (query that would pass it on, key that would take its place)
        queue, unseen, seen = [start], ~self.reached, 0
        for key in queue:
            fresh = self.sees[key] & unseen
            seen |= fresh
            unseen &= ~fresh
            if fresh & self.open:
                return seen, list(_path((fresh & self.open).bit_length() - 1, key, holder))
            for query in _bits(fresh):
                others = [other for other in self.given[query] if other != start and other not in holder]
                holder.update(dict.fromkeys(others, (query, key)))
                queue += others
        return seen, []

    def _shift(self, path: list[tuple[int, int]], start: int) -> None:
        """Send along a path what all of it can take."""
        passed = [self.given[query][key] for (query, _), (_, key) in zip(path[1:], path, strict=False)]
        amount = min(self.supply[start], self.room[path[0][0]], *passed)
        for query, key in path:
            self.given[query][key] = self.given[query].get(key, 0) + amount
        for (query, _), (_, key) in zip(path[1:], path, strict=False):
            self.given[query][key] -= amount
            if not self.given[query][key]:
                del self.given[query][key]
        self.supply[start] -= amount
        self.room[path[0][0]] -= amount
        if not self.room[path[0][0]]:
            self.open ^= 1 << path[0][0]


def _all_keys_are_cheapest(sees: Array, query_cost: Array, key_cost: Array) -> bool:
    """Return whether even shares prove that nothing costs less than all keys that are seen; False proves nothing.

    Scaled down until no query gets too much, they are a flow. So no cover costs less than what they sum up to, and no
    less than the next whole number, which leaves room for rounding.
    """
    degree = np.count_nonzero(sees, axis=0)
    excess = (sees @ (key_cost / np.maximum(degree, 1)) / query_cost).max(initial=1.0)
    total = float(key_cost[degree > 0].sum())
    return total - total / float(excess) < 0.5


def _path(query: int, key: int, holder: dict[int, tuple[int, int]]) -> Iterator[tuple[int, int]]:
    yield query, key
    while key in holder:
        query, key = holder[key]
        yield query, key


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
