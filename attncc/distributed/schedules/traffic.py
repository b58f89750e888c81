"""Traffic: the bytes that a schedule moves, and the steps in which moving and computing overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.schedule import Moves, Schedule
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Flow:
    """Bytes from one rank to another within a round; one entry a pair, int64 arrays of one length."""

    source: Array
    target: Array
    bytes: Array

    @classmethod
    def together(cls, flows: Iterable[Flow]) -> Flow:
        """Return flows as one, with the entries of all of them."""
        given = list(flows)
        columns = ([getattr(flow, name) for flow in given] for name in ("source", "target", "bytes"))
        return cls(*(np.concatenate([np.empty(0, np.int64), *column]) for column in columns))

    @property
    def total(self) -> int:
        """Bytes of all pairs."""
        return int(self.bytes.sum())

    def sent(self, ranks: int) -> Array:
        """Bytes that each rank sends, int64 (ranks,)."""
        return np.bincount(self.source, self.bytes, ranks).astype(np.int64)

    def received(self, ranks: int) -> Array:
        """Bytes that each rank receives, int64 (ranks,)."""
        return np.bincount(self.target, self.bytes, ranks).astype(np.int64)

    def reversed(self) -> Flow:
        """Return the same bytes on their way back."""
        return Flow(self.target, self.source, self.bytes)

    def among(self, ranks: Array) -> Flow:
        """Return the flow between the ranks that stand at these places: `ranks[r]` for r."""
        return Flow(ranks[self.source], ranks[self.target], self.bytes)

    def folded(self, ranks: int) -> Flow:
        """Return the flow of groups of `ranks` ranks added up, one entry a pair of ranks of a group."""
        return Flow(self.source % ranks, self.target % ranks, self.bytes).summed(ranks)

    def summed(self, ranks: int) -> Flow:
        """Return the flow with one entry for each pair of `ranks` ranks that exchanges anything."""
        pairs, inverse = np.unique(self.source * ranks + self.target, return_inverse=True)
        total = np.bincount(inverse, self.bytes, len(pairs)).astype(np.int64)
        moved = total > 0
        return Flow(pairs[moved] // ranks, pairs[moved] % ranks, total[moved])

    def same(self, other: Flow) -> bool:
        """Return whether another flow has the same entries in the same order."""
        columns = zip((self.source, self.target, self.bytes), (other.source, other.target, other.bytes), strict=True)
        return all(np.array_equal(a, b) for a, b in columns)


@dataclass(frozen=True, eq=False)
class Superstep:
    """Pairs that each rank computes, float64 (ranks,), while a flow is on its way.

    Attributes:
        group: The number of each rank's group, whose ranks exchange with each other alone, int64 (ranks,); None if all
            are in one.
    """

    work: Array
    tasks: Array
    flow: Flow
    group: Array | None = None


@dataclass(frozen=True)
class TokenBytes:
    """Bytes of a token of a member (a batch entry and a key head) as it travels.

    Attributes:
        key: Of key and value.
        query: Of all query heads that share the key head.
        result: Of their out and lse, under a score with its remainder.
        key_gradient, query_gradient: Of the sums of gradients of key and value, and of queries, in the accumulation
            type.
        result_gradient: Of the gradient of the result of a query that travelled, with its lse and delta (the row sum of
            result * gradient, less the gradient of lse).
    """

    key: int
    query: int
    result: int
    key_gradient: int
    query_gradient: int
    result_gradient: int

    @classmethod
    def of(cls, inputs: Inputs) -> TokenBytes:
        """Return the sizes for inputs."""
        size, sums, group = inputs.itemsize, max(4, inputs.itemsize), inputs.group
        both, lse = inputs.head_dim + inputs.value_dim, (2 if inputs.scored else 1) * sums
        return cls(
            key=both * size,
            query=group * inputs.head_dim * size,
            result=group * (inputs.value_dim * size + lse),
            key_gradient=both * sums,
            query_gradient=group * inputs.head_dim * sums,
            result_gradient=group * (inputs.value_dim * size + lse + sums),
        )


def forward(schedule: Schedule, inputs: Inputs) -> list[Flow]:
    """Return the flow of each round of the forward, the round that returns results last if there is one."""
    rows = TokenBytes.of(inputs)
    flows = _rounds(schedule, inputs, rows.key, rows.query)
    return [*flows, _returned(schedule, inputs, rows.result)] if schedule.returns else flows


def max_scores(schedule: Schedule, inputs: Inputs, size: int) -> list[Flow]:
    """Return the flow of the round that returns greatest scores, of `size` bytes, to their owners, if there is one."""
    return [_returned(schedule, inputs, inputs.group * size)] if schedule.returns else []


def backward(schedule: Schedule, inputs: Inputs) -> list[Flow]:
    """Return the flow of each round of the backward: first queries' gradients as queries went, then keys' sums back.

    The first rounds follow queries in the order of the forward (none if no query travelled), the others undo the
    rounds of keys in the reverse order; the gradients of queries go back to their owners with the last.
    """
    rows, ranks = TokenBytes.of(inputs), schedule.partition.ranks
    there = _rounds(schedule, inputs, 0, rows.result_gradient) if schedule.returns else []
    back = [flow.reversed() for flow in reversed(_rounds(schedule, inputs, rows.key_gradient, 0))]
    if back and schedule.returns:
        back[-1] = Flow.together([back[-1], _returned(schedule, inputs, rows.query_gradient)]).summed(ranks)
    return [*there, *back]


def forward_steps(schedule: Schedule, inputs: Inputs, max_score: int = 0) -> list[Superstep]:
    """Return what is computed while each round of the forward is on its way, and after the last.

    Args:
        max_score: Bytes of a row's greatest score, 0 where the caller doesn't want it.
    """
    flows = forward(schedule, inputs) + (max_scores(schedule, inputs, max_score) if max_score else [])
    ranks = schedule.partition.ranks
    work = [_work(schedule, inputs, k) for k in range(schedule.rounds + 1)]
    work += [(np.zeros(ranks), np.zeros(ranks, np.int64))] * (len(flows) - schedule.rounds)
    return [Superstep(*each, flow) for each, flow in zip(work, [*flows, nothing()], strict=True)]


def backward_steps(schedule: Schedule, inputs: Inputs) -> list[Superstep]:
    """Return what is computed while each round of the backward is on its way: the farthest keys are done first.

    Where queries travelled, a rank's own keys are done while their gradients travel, else while the last sums do.
    Work is in pairs, as in the forward; a backward takes longer for one.
    """
    flows, rounds = backward(schedule, inputs), schedule.rounds
    idle = np.zeros(schedule.partition.ranks), np.zeros(schedule.partition.ranks, np.int64)
    there, back = flows[: len(flows) - rounds], flows[len(flows) - rounds :]
    own = _work(schedule, inputs, 0)
    early = [own, *[idle] * (len(there) - 1)] if there else []
    late = [_work(schedule, inputs, k) for k in range(rounds, 0, -1)] + [idle if there else own]
    return [Superstep(*work, flow) for work, flow in zip([*early, *late], [*there, nothing(), *back], strict=True)]


def kept(schedule: Schedule, inputs: Inputs) -> Array:
    """Return the bytes of rows of other ranks that each rank keeps for its backward, int64 (ranks,)."""
    rows = TokenBytes.of(inputs)
    return received(_rounds(schedule, inputs, rows.key, rows.query), schedule.partition.ranks)


def nothing() -> Flow:
    """Return the flow of a step that moves nothing."""
    return Flow.together(())


def _work(schedule: Schedule, inputs: Inputs, after: int) -> tuple[Array, Array]:
    """Return pairs and number of tasks of each rank after a round."""
    classes = [(heads.tasks, heads.size(inputs)) for heads in schedule.head_classes]
    pairs = [(task.rank, task.work * size) for tasks, size in classes for task in tasks if task.round == after]
    rank, work = np.array(pairs, np.float64).reshape(-1, 2).T
    ranks = schedule.partition.ranks
    return np.bincount(rank.astype(np.int64), work, ranks), np.bincount(rank.astype(np.int64), minlength=ranks)


def _rounds(schedule: Schedule, inputs: Inputs, key: int, query: int) -> list[Flow]:
    """Return the flow of each round, given the bytes of a key's and of a query's row."""
    flows, sides = [], []
    for heads in schedule.head_classes:
        sizes, size = schedule.partition.chunking.sizes[heads.queries.unit], heads.size(inputs)
        sides += [(heads.keys, heads.key_rows(schedule.partition), key * size), (heads.queries, sizes, query * size)]
    for number in range(1, schedule.rounds + 1):
        parts = []
        for moves, rows, row in sides:
            now = moves.round == number
            parts.append(_flow(moves.select(now), rows[now], row))
        flows.append(Flow.together(parts).summed(schedule.partition.ranks))
    return flows


def _returned(schedule: Schedule, inputs: Inputs, row: int) -> Flow:
    """Return the flow of results from the ranks that queries went to, to their owners."""
    parts = []
    for heads in schedule.head_classes:
        sizes = schedule.partition.chunking.sizes[heads.queries.unit]
        flow = _flow(heads.queries, sizes, row * heads.size(inputs))
        parts.append(Flow(flow.target, schedule.partition.owner[heads.queries.unit], flow.bytes))
    return Flow.together(parts).summed(schedule.partition.ranks)


def _flow(moves: Moves, rows: Array, row: int) -> Flow:
    """Return the flow of moves that carry so many rows each, of `row` bytes."""
    return Flow(moves.source, moves.target, rows * row)


def received(flows: Iterable[Flow], ranks: int) -> Array:
    """Return the bytes that each rank receives in all, int64 (ranks,)."""
    return sum((flow.received(ranks) for flow in flows), np.zeros(ranks, np.int64))
