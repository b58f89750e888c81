"""Schedules: what travels between ranks in each round, and what each rank computes after it. Pure data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attncc._util.display import Displayed
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.chosen_rows import ChosenRows
from attncc.distributed.schedules.partition import Partition
from attncc.errors import RenamedWarning
from attncc.ir.tables import Array
from attncc.planner.order import order_by


@dataclass(frozen=True, eq=False)
class Moves:
    """Units that travel: in `round` (from 1), `unit` goes from rank `source` to rank `target`, which hasn't got it.

    Four int64 arrays of one length, sorted by (round, source, target, unit). A source is the unit's owner, or a rank
    that the unit reached in an earlier round.
    """

    round: Array
    source: Array
    target: Array
    unit: Array

    @classmethod
    def of(cls, round: Array, source: Array, target: Array, unit: Array) -> Moves:
        """Return the moves, sorted."""
        order = order_by(round, source, target, unit)
        return cls(*(np.asarray(x, np.int64)[order] for x in (round, source, target, unit)))

    @classmethod
    def none(cls) -> Moves:
        """Return no moves."""
        return cls(*(np.empty(0, np.int64) for _ in range(4)))

    def select(self, chosen: Array) -> Moves:
        """Return the moves at `chosen`, a mask or numbers."""
        return Moves(self.round[chosen], self.source[chosen], self.target[chosen], self.unit[chosen])

    def __len__(self) -> int:
        return len(self.unit)


@dataclass(frozen=True, eq=False)
class Task:
    """Attention of the rows of some query units over the rows of some key units on one rank.

    No pair of units is in two tasks of a head class. Units ascend. `round` is the one after which it is computed, when
    all of its inputs are there. `work` is the number of connected pairs of a member of the class, over its query heads.
    """

    rank: int
    round: int
    queries: Array
    keys: Array
    work: float


@dataclass(frozen=True, eq=False)
class HeadClassSchedule:
    """What a head class, heads of batch entries that see alike, sends and computes.

    Attributes:
        members: (batch entry, key head) pairs, int64 (M, 2); None for all of them. With grouped queries a key head
            stands for all query heads that share it.
        keys: Units whose keys and values travel to the queries.
        queries: Units whose queries travel to the keys; the partial results (out, lse) go back to the owner in a round
            after the last.
        tasks: Of all ranks, sorted by (rank, round).
        chosen: The rows of `keys` that travel, None for all of these units.
    """

    members: Array | None
    keys: Moves
    queries: Moves
    tasks: tuple[Task, ...]
    chosen: ChosenRows | None = None

    def key_tokens(self, partition: Partition, rank: int, units: Array) -> Array:
        """Return the positions of the keys of `units` that a rank has, or gets: all of its own, those chosen of others.

        They ascend.
        """
        if self.chosen is None:
            return partition.chunking.tokens(units)
        own = partition.owner[units] == rank
        others = self.chosen.among(rank, partition.chunking.tokens(units[~own]))
        return np.sort(np.concatenate([partition.chunking.tokens(units[own]), others]))

    def key_rows(self, partition: Partition) -> Array:
        """Return how many rows each move of keys carries, int64 (len(keys),)."""
        if self.chosen is None:
            return partition.chunking.sizes[self.keys.unit]
        return self.chosen.carried(self.keys.target, self.keys.unit)

    def size(self, inputs: Inputs) -> int:
        """Return the number of members, given the sizes of the tensors that they are in."""
        return inputs.batch * inputs.kv_heads if self.members is None else len(self.members)

    def tasks_of(self, rank: int) -> Iterator[Task]:
        """Yield the tasks of a rank."""
        return (task for task in self.tasks if task.rank == rank)


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(Displayed):
    """What travels between the ranks of a sequence group, and what each of them computes.

    Attributes:
        partition: Which rank owns which tokens.
        head_classes: The schedules of heads that see alike, whose exchanges travel together.
        rounds: Number of exchanges; one more returns results where queries travelled.
    """

    partition: Partition
    head_classes: tuple[HeadClassSchedule, ...]
    rounds: int

    @property
    def returns(self) -> bool:
        """Whether partial results go back to the owners of queries."""
        return any(len(head_class.queries) for head_class in self.head_classes)

    @property
    def lanes(self) -> tuple[HeadClassSchedule, ...]:
        """The head classes, under the name that they had."""
        warnings.warn(RenamedWarning("Schedule.lanes is called head_classes now."), stacklevel=2)
        return self.head_classes

    def __repr__(self) -> str:
        partition, chunking = self.partition, self.partition.chunking
        classes = len(self.head_classes)
        return (
            f"<schedule: {chunking.length:,} tokens on {partition.ranks:,} ranks, {partition.name} partition, units of "
            f"{chunking.size:,}, {self.rounds} round(s), {classes} head class(es)>"
        )
