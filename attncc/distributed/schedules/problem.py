"""A problem: a pattern over a sequence that ranks share; and its partitions and schedules under given settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import portfolio, routes
from attncc.distributed.schedules.adjacency import Adjacency, adjacency
from attncc.distributed.schedules.cut import Cut
from attncc.distributed.schedules.exchange import Demand, Exchange, exchange
from attncc.distributed.schedules.lanes import Alike, alike
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Lane, Moves, Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.tasks import tasks
from attncc.distributed.schedules.traffic import Rows
from attncc.errors import ConfigError, PlanError, ShapeError
from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array
from attncc.planner.checks import check, check_sizes
from attncc.planner.shape import Shape

#: Units for each rank, and in all, that a default unit leaves at least and at most.
UNITS_PER_RANK, MOST_UNITS = 16, 8192
#: Tokens of the largest default unit of a short sequence: the tile that kernels work in.
TILE = 128


@dataclass(frozen=True, eq=False)
class Problem:
    """A pattern of self-attention over `length` tokens, which `ranks` ranks share.

    inputs: sizes of the group's query, key and value, over all of its tokens. node_of: the node of each rank, int64
    (ranks,), which a tree follows; by default all are in one. slack: a rank may own so many times its even share of
    tokens; most: and no more than this, for its memory. Raises PlanError if so many ranks can't hold all tokens, and
    what checking a pattern does.
    """

    pattern: Pattern
    length: int
    ranks: int
    inputs: Inputs
    node_of: Array | None = None
    slack: float = 1.25
    most: int | None = None
    _cuts: dict[int, Cut] = field(default_factory=dict, repr=False)
    _adjacencies: dict[Cut, tuple[Adjacency, ...]] = field(default_factory=dict, repr=False)
    _partitions: dict[tuple[str, int], Partition] = field(default_factory=dict, repr=False)
    _exchanges: dict[Partition, tuple[Exchange, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check(self.pattern.predicate, self.shape)
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
        check_sizes(self.pattern.predicate, self.shape)

    @property
    def shape(self) -> Shape:
        return Shape(self.length, self.length, 0, self.inputs.heads, self.inputs.batch)

    @cached_property
    def classes(self) -> tuple[Alike, ...]:
        """Heads and batch entries that see alike; each class gets a lane."""
        return alike(self.pattern, self.length, self.inputs)

    def unit(self, settings: Settings) -> int:
        """Return the tokens of a unit."""
        return settings.unit or default_unit(self.length, self.ranks)

    def plain(self, settings: Settings) -> Cut:
        """Return the cut of the sequence as it stands."""
        return self._cut(self.unit(settings))

    def _cut(self, unit: int) -> Cut:
        return self._cuts.setdefault(unit, Cut.plain(self.length, unit))

    def adjacencies(self, cut: Cut) -> tuple[Adjacency, ...]:
        """Return the adjacency of each class; they are kept."""
        if cut not in self._adjacencies:
            self._adjacencies[cut] = tuple(adjacency(each.predicates, self.shape, cut) for each in self.classes)
        return self._adjacencies[cut]

    def whole(self, cut: Cut) -> Adjacency:
        """Return the adjacency of all classes together."""
        seen = zip(self.classes, self.adjacencies(cut), strict=True)
        return Adjacency(cut, tuple(strip.scaled(each.count) for each, found in seen for strip in found.strips))

    def partition(self, settings: Settings) -> Partition:
        """Return the partition that the settings name."""
        key = settings.partition, self.unit(settings)
        if key not in self._partitions:
            self._partitions[key] = self._partitioned(*key)
        return self._partitions[key]

    def _partitioned(self, name: str, unit: int) -> Partition:
        plain = self._cut(unit)
        if name == "classes":
            return self._by_class(plain)
        if name == "striped":
            stripes = portfolio.reordered(np.argsort(np.arange(self.length) % self.ranks, kind="stable"), unit)
            found = portfolio.partition("contiguous", self.whole(stripes), self.ranks, self._limit(unit))
            return replace(found, name=name)
        return portfolio.partition(name, self.whole(plain), self.ranks, self._limit(unit))

    def _by_class(self, plain: Cut) -> Partition:
        """Return the balanced partition in the order of a join's classes that moves least, or of the plain order."""
        predicates = [predicate for each in self.classes for predicate, _ in each.predicates]
        orders = portfolio.class_orders(predicates, self.shape)
        cuts = [portfolio.reordered(order, plain.size) for order in orders] or [plain]
        limit = self._limit(plain.size)
        found = [portfolio.partition("balanced", self.whole(cut), self.ranks, limit) for cut in cuts]
        best = found[0] if len(found) == 1 else min(found, key=self._volume)
        return replace(best, name="classes")

    def _volume(self, partition: Partition) -> int:
        demand = exchange(self.whole(partition.cut), partition, Rows.of(self.inputs)).keys
        return int(partition.cut.sizes[demand.unit].sum())

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
        parts = zip(self.classes, self.adjacencies(partition.cut), self.exchanges(partition), strict=True)
        lanes = [self._lane(*each, partition, settings) for each in parts]
        rounds = (_rounds(lane.keys, lane.queries) for lane in lanes)
        return Schedule(partition, tuple(lanes), max(rounds, default=0))

    def exchanges(self, partition: Partition) -> tuple[Exchange, ...]:
        """Return the exchange of each class; they are kept."""
        if partition not in self._exchanges:
            rows = Rows.of(self.inputs)
            found = tuple(exchange(seen, partition, rows) for seen in self.adjacencies(partition.cut))
            self._exchanges[partition] = found
        return self._exchanges[partition]

    def _lane(self, each: Alike, seen: Adjacency, found: Exchange, partition: Partition, settings: Settings) -> Lane:
        keys, queries = (self._routed(demand, partition, settings) for demand in (found.keys, found.queries))
        joined = settings.route == "direct" and settings.stages == 0
        slices = _rounds(keys, queries) if settings.route == "tree" else 1
        made = tasks(seen, partition, keys, queries, joined=joined, slices=max(slices, 1))
        return Lane(each.members, keys, queries, made)

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
    unit = _power_of_two(min(length // (UNITS_PER_RANK * ranks), TILE))
    most = max(MOST_UNITS, UNITS_PER_RANK * ranks)
    while -(-length // unit) > most:
        unit *= 2
    return unit


def _power_of_two(size: int) -> int:
    """Return the largest power of two up to `size`, at least 1."""
    return 1 << max(size.bit_length() - 1, 0)
