"""Schedules built pair by pair from the dense mask, in every style and route. Slow and exact."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.distributed.schedules.schedule import HeadClassSchedule, Moves, Schedule, Task
from attncc.ir.tables import Array
from attncc.planner.axis import Axis

#: pull: keys move; push: queries move; third: both may meet on another rank; mixed: any of these, pair by pair.
STYLES = ("pull", "push", "third", "mixed")
#: direct: all in round 1; rounds: in any round; relayed: from one target to the next; detour: by another rank.
ROUTES = ("direct", "rounds", "relayed", "detour")


def whole_mask(pattern: attncc.Pattern, n: int, heads: int, batch: int) -> torch.Tensor:
    mask = as_broadcast(attncc.dense_mask(pattern, n, heads=heads, batch=batch), pattern)
    return mask.expand(batch, heads, n, n)


def partition(kind: str, n: int, size: int, ranks: int, seed: int = 0) -> Partition:
    rng = np.random.default_rng(seed)
    chunking = Chunking.plain(n, size)
    unit = np.arange(chunking.count)
    if kind == "moved":
        chunking = Chunking(Axis(n, rng.permutation(n)), size)
    owners = {
        "contiguous": unit * ranks // chunking.count,
        "striped": unit % ranks,
        "zigzag": np.minimum(unit % (2 * ranks), 2 * ranks - 1 - unit % (2 * ranks)),
        "scattered": rng.integers(0, ranks, chunking.count),
        "moved": unit * ranks // chunking.count,
        "one idle": unit % max(1, ranks - 1),
        "all on the last": np.full(chunking.count, ranks - 1),
    }
    return Partition(kind, chunking, owners[kind], ranks)


@dataclass
class _Routes:
    """The moves of one side of a head class: a round and a source for each (unit, target) that is needed."""

    partition: Partition
    route: str
    rounds: int
    rng: np.random.Generator

    def moves(self, needed: dict[int, set[int]]) -> tuple[Moves, dict[tuple[int, int], int]]:
        found, arrival = [], {}
        for unit, targets in sorted(needed.items()):
            owner = int(self.partition.owner[unit])
            for round, source, target in self._of(owner, sorted(targets)):
                found.append((round, source, target, unit))
                arrival[target, unit] = round
        columns = np.array(found, np.int64).reshape(-1, 4).T
        return Moves.of(*columns), arrival

    def _of(self, owner: int, targets: list[int]) -> list[tuple[int, int, int]]:
        others = [r for r in range(self.partition.ranks) if r != owner and r not in targets]
        if self.route == "direct" or self.rounds == 1:
            return [(1, owner, target) for target in targets]
        if self.route == "rounds":
            return [(int(self.rng.integers(1, self.rounds + 1)), owner, target) for target in targets]
        if self.route == "detour" and others:
            by = int(self.rng.choice(others))
            return [(1, owner, by), *((int(self.rng.integers(2, self.rounds + 1)), by, target) for target in targets)]
        hops, source = [], owner
        for number, target in enumerate(targets):
            hops.append((min(number + 1, self.rounds), source, target))
            if number + 1 < self.rounds:
                source = target
        return hops


def head_class(
    adjacent: Array, members: Array | None, parts: Partition, style: str, routes: _Routes
) -> HeadClassSchedule:
    """Return a head class for the unit pairs that are adjacent, bool (units, units)."""
    rng, owner = routes.rng, parts.owner
    places, keys, queries = {}, defaultdict(set), defaultdict(set)
    for q, k in zip(*np.nonzero(adjacent), strict=True):
        own = int(owner[q]), int(owner[k])
        way = rng.choice(STYLES[:3]) if style == "mixed" else style
        at = {"pull": own[0], "push": own[1], "third": int(rng.integers(0, parts.ranks))}[str(way)]
        at = own[0] if own[0] == own[1] else at
        places[int(q), int(k)] = at
        if at != own[0]:
            queries[int(q)].add(at)
        if at != own[1]:
            keys[int(k)].add(at)
    key_moves, key_arrival = routes.moves(keys)
    query_moves, query_arrival = routes.moves(queries)
    seen: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for (q, k), at in sorted(places.items()):
        after = max(query_arrival.get((at, q), 0), key_arrival.get((at, k), 0))
        seen[at, after, q].append(k)
    return HeadClassSchedule(members, key_moves, query_moves, _tasks(seen))


def _tasks(seen: dict[tuple[int, int, int], list[int]]) -> tuple[Task, ...]:
    grouped: dict[tuple[int, int, tuple[int, ...]], list[int]] = defaultdict(list)
    for (at, after, q), ks in sorted(seen.items()):
        grouped[at, after, tuple(ks)].append(q)
    return tuple(
        Task(at, after, np.array(qs), np.array(ks), float(len(qs) * len(ks)))
        for (at, after, ks), qs in sorted(grouped.items())
    )


def schedule(
    pattern: attncc.Pattern,
    parts: Partition,
    *,
    heads: int = 1,
    kv_heads: int = 1,
    batch: int = 1,
    style: str = "pull",
    route: str = "direct",
    rounds: int = 1,
    seed: int = 0,
) -> Schedule:
    """Return an exact schedule; heads and batch entries that see alike share a head class."""
    chunking, group = parts.chunking, heads // kv_heads
    mask = whole_mask(pattern, chunking.length, heads, batch).numpy()
    by_unit = np.zeros((batch, kv_heads, chunking.count, chunking.count), bool)
    b, h, i, j = np.nonzero(mask)
    by_unit[b, h // group, chunking.unit_at(i), chunking.unit_at(j)] = True
    alike: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for pair in np.ndindex(batch, kv_heads):
        alike[by_unit[pair].tobytes()].append(pair)
    routes = _Routes(parts, route, rounds, np.random.default_rng(seed))
    head_classes = tuple(
        head_class(by_unit[pairs[0]], None if len(alike) == 1 else np.array(pairs), parts, style, routes)
        for pairs in alike.values()
    )
    return Schedule(parts, head_classes, rounds)
