"""A problem: a pattern over a sequence that ranks share; and its partitions and schedules under given settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import partitioners, routes
from attncc.distributed.schedules.adjacency import Adjacency, adjacency
from attncc.distributed.schedules.exchange import Demand, Exchange, exchange
from attncc.distributed.schedules.head_classes import HeadClass, head_classes
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.distributed.schedules.schedule import HeadClassSchedule, Moves, Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.tasks import tasks
from attncc.distributed.schedules.traffic import TokenBytes
from attncc.errors import ConfigError, PlanError, ShapeError
from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array
from attncc.planner.bound_checks import check_bound, check_sizes
from attncc.planner.shape import Shape

#: Units for each rank, and in all, that a default unit leaves at least and at most.
UNITS_PER_RANK, MOST_UNITS = 16, 8192
#: Tokens of the largest default unit of a short sequence: the tile that kernels work in.
TILE = 128


@dataclass(frozen=True, eq=False)
class PartitioningProblem:
    """A pattern of self-attention over `length` tokens, which `ranks` ranks share.

    Raises PlanError if the ranks can't hold all tokens, and what checking a pattern does.

    Attributes:
        inputs: Sizes of the group's query, key and value, over all of its tokens.
        node_of: The node of each rank, int64 (ranks,), which a tree follows; by default all are in one.
        slack: The most tokens of a rank over its even share.
        most: The tokens that the memory of a rank holds.
    """

    pattern: Pattern
    length: int
    ranks: int
    inputs: Inputs
    node_of: Array | None = None
    slack: float = 1.25
    most: int | None = None
    _chunkings: dict[int, Chunking] = field(default_factory=dict, repr=False)
    _adjacencies: dict[Chunking, tuple[Adjacency, ...]] = field(default_factory=dict, repr=False)
    _partitions: dict[tuple[str, int], Partition] = field(default_factory=dict, repr=False)
    _exchanges: dict[Partition, tuple[Exchange, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_bound(self.pattern, self.shape)
        if self.ranks < 1 or self.length < 1:
            raise ShapeError(
                f"{self.length} tokens on {self.ranks} ranks.",
                rule="There is at least one token and one rank.",
                fix="Give 1 or more of both.",
            )
        if not 1.0 <= self.slack < math.inf:
            raise ConfigError(
                f"slack={self.slack}.",
                rule="It is a finite number of at least 1.",
                fix="For example 1.25: a quarter more than an even share.",
            )
        if self.most is not None and self.most * self.ranks < self.length:
            raise PlanError(
                f"{self.length:,} tokens on {self.ranks} ranks, whose memory holds {self.most:,} each.",
                rule="All rows of query, key, value, output and their gradients fit in half of a device's memory.",
                fix="Share the sequence among more ranks, or divide batch entries or heads.",
            )
        check_sizes(self.pattern, self.shape)

    @property
    def shape(self) -> Shape:
        return Shape(self.length, self.length, 0, self.inputs.heads, self.inputs.batch)

    @cached_property
    def classes(self) -> tuple[HeadClass, ...]:
        """Heads and batch entries that see alike; each class has an exchange of its own."""
        return head_classes(self.pattern, self.length, self.inputs)

    def unit(self, settings: Settings) -> int:
        """Return the tokens of a unit."""
        return settings.unit or default_unit(self.length, self.ranks)

    def plain(self, settings: Settings) -> Chunking:
        """Return the chunking of the sequence in its own order."""
        unit = self.unit(settings)
        return self._chunkings.setdefault(unit, Chunking.plain(self.length, unit))

    def adjacencies(self, chunking: Chunking) -> tuple[Adjacency, ...]:
        """Return the adjacency of each head class; they are kept."""
        if chunking not in self._adjacencies:
            own = (adjacency(each.seen, self.shape, chunking) for each in self.classes)
            self._adjacencies[chunking] = tuple(own)
        return self._adjacencies[chunking]

    def whole(self, chunking: Chunking) -> Adjacency:
        """Return the adjacency of all head classes together."""
        by_class = zip(self.classes, self.adjacencies(chunking), strict=True)
        return Adjacency(chunking, tuple(strip.scaled(c.count) for c, seen in by_class for strip in seen.strips))

    def partition(self, settings: Settings) -> Partition:
        """Return the partition that the settings name."""
        plain = self.plain(settings)
        key = settings.partition, plain.size
        if key not in self._partitions:
            self._partitions[key] = self._partitioned(settings.partition, plain)
        return self._partitions[key]

    def _partitioned(self, name: str, plain: Chunking) -> Partition:
        limit = self._limit(plain.size)
        if name == "classes":
            return replace(self._by_class(plain, limit), name=name)
        if name == "cyclic":
            order = np.argsort(np.arange(self.length) % self.ranks, kind="stable")
            dealt = self.whole(partitioners.reordered(order, plain.size))
            return replace(partitioners.partition("contiguous", dealt, self.ranks, limit), name=name)
        return partitioners.partition(name, self.whole(plain), self.ranks, limit)

    def _by_class(self, plain: Chunking, limit: int) -> Partition:
        """Return the balanced partition in the order of a join's classes that moves least, or of the plain order."""
        orders = partitioners.class_orders((seen for c in self.classes for seen, _ in c.seen), self.shape)
        chunkings = [partitioners.reordered(order, plain.size) for order in orders] or [plain]
        balanced = [partitioners.partition("balanced", self.whole(each), self.ranks, limit) for each in chunkings]
        return balanced[0] if len(balanced) == 1 else min(balanced, key=self._volume)

    def _volume(self, partition: Partition) -> int:
        demand = exchange(self.whole(partition.chunking), partition, TokenBytes.of(self.inputs)).keys
        return int(partition.chunking.sizes[demand.unit].sum())

    def _limit(self, unit: int) -> int:
        """Return the most tokens that a rank may own: `slack` times its share in whole units, and what memory holds."""
        share = self.length / self.ranks * self.slack
        least = -(-self.length // (self.ranks * unit))
        units = max(int(share // unit), least)
        return (units if self.most is None else max(min(units, self.most // unit), least)) * unit

    def schedule(self, settings: Settings) -> Schedule:
        """Return the schedule that the settings describe."""
        return self.scheduled(self.partition(settings), settings)

    def scheduled(self, partition: Partition, settings: Settings) -> Schedule:
        """Return the schedule of a partition; of the settings only the exchange's are used."""
        by_class = zip(self.classes, self.adjacencies(partition.chunking), self.exchanges(partition), strict=True)
        schedules = tuple(self._class_schedule(*parts, partition, settings) for parts in by_class)
        rounds = (_rounds(own.keys, own.queries) for own in schedules)
        return Schedule(partition, schedules, max(rounds, default=0))

    def exchanges(self, partition: Partition) -> tuple[Exchange, ...]:
        """Return the exchange of each head class; they are kept."""
        if partition not in self._exchanges:
            rows, seen = TokenBytes.of(self.inputs), self.adjacencies(partition.chunking)
            self._exchanges[partition] = tuple(exchange(each, partition, rows) for each in seen)
        return self._exchanges[partition]

    def _class_schedule(
        self, heads: HeadClass, seen: Adjacency, sent: Exchange, partition: Partition, settings: Settings
    ) -> HeadClassSchedule:
        keys, queries = (self._routed(demand, partition, settings) for demand in (sent.keys, sent.queries))
        joined = settings.route == "direct" and settings.stages == 0
        slices = _rounds(keys, queries) if settings.route == "tree" else 1
        own = tasks(seen, partition, keys, queries, joined=joined, slices=max(slices, 1))
        chosen = sent.chosen
        if chosen is not None and settings.route != "direct":
            chosen = chosen.alike()
        return HeadClassSchedule(heads.members, keys, queries, own, chosen)

    def _routed(self, demand: Demand, partition: Partition, settings: Settings) -> Moves:
        if settings.route == "ring":
            return routes.ring(demand, partition)
        if settings.route == "tree":
            node_of = np.zeros(self.ranks, np.int64) if self.node_of is None else self.node_of
            return routes.tree(demand, partition, node_of, settings.fanout)
        return routes.direct(demand, partition, max(settings.stages, 1))


def _rounds(*all_moves: Moves) -> int:
    """Return the last round in which anything moves."""
    return max(int(moves.round.max(initial=0)) for moves in all_moves)


def default_unit(length: int, ranks: int) -> int:
    """Return the tokens of a unit: several units for each rank, a tile where the sequence is long, more where huge."""
    unit = 1 << max(min(length // (UNITS_PER_RANK * ranks), TILE).bit_length() - 1, 0)
    most = max(MOST_UNITS, UNITS_PER_RANK * ranks)
    while -(-length // unit) > most:
        unit *= 2
    return unit
