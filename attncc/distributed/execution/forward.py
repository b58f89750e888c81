"""The forward on one rank: tasks run while the next round of the exchange is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from attncc.backends.logsum import LogSum
from attncc.distributed.execution.channel import Channel
from attncc.distributed.execution.crossing import Crossing, Delivery, Stores, storing
from attncc.distributed.execution.inner import Inner
from attncc.distributed.execution.members import Members
from attncc.distributed.execution.partial import Partial
from attncc.distributed.execution.sample import Sample, of_length
from attncc.distributed.execution.tables import LaneOn, Parcel, RankTables, Task


@dataclass(frozen=True, eq=False)
class Run:
    """What a rank needs to run its part of a schedule.

    channel: between the ranks that run the schedule, None where that is this rank alone. call: the sizes of a call, in
    words, for errors.
    """

    tables: RankTables
    members: tuple[Members, ...]
    inner: Inner
    channel: Channel | None
    call: str = ""

    @classmethod
    def of(cls, tables: RankTables, inner: Inner, channel: Channel | None) -> Run:
        """Return the run of a rank's tables."""
        return cls(tables, tuple(Members.of(lane.members) for lane in tables.lanes), inner, channel)

    def prepare(self, sample: Sample) -> None:
        """Find what runs the tasks on tensors of these sizes, so that the first call needn't."""
        query, key, value = sample.without_rows()
        for lane, members in zip(self.tables.lanes, self.members, strict=True):
            own = members.take(query, query.shape[1] // key.shape[1]), members.take(key), members.take(value)
            for task in lane.tasks:
                rows = len(task.query_positions), len(task.key_positions), len(task.key_positions)
                like = [of_length(x, count) for x, count in zip(own, rows, strict=True)]
                for direction in sample.directions:
                    self.inner.executable(task, members, direction, *like)


class LaneInputs:
    """A lane's tensors on a rank: queries, keys and values of each store, own rows first."""

    def __init__(self, lane: LaneOn, members: Members, query: Tensor, key: Tensor, value: Tensor) -> None:
        self.lane, self.members = lane, members
        self.group = query.shape[1] // key.shape[1]
        self.queries = _stores(members.take(query, self.group), lane.queries.stores)
        self.keys = _stores(members.take(key), lane.keys.stores)
        self.values = _stores(members.take(value), lane.keys.stores)

    @property
    def received(self) -> list[Tensor]:
        """What the rounds brought, to be put back with `restore`."""
        return [*self.queries[1:], *self.keys[1:], *self.values[1:]]

    def restore(self, received: Sequence[Tensor]) -> None:
        """Put back what the rounds of an earlier run brought."""
        rounds = len(self.keys) - 1
        for part, stores in enumerate((self.queries, self.keys, self.values)):
            stores[1:] = received[part * rounds : (part + 1) * rounds]

    def of(self, task: Task) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value of a task."""
        return task.queries.take(self.queries), task.keys.take(self.keys), task.keys.take(self.values)


def run_forward(
    run: Run, lanes: Sequence[LaneInputs], weights: Sequence[Tensor], scale: float
) -> list[tuple[Tensor, LogSum]]:
    """Return (out, lse) of a rank's own queries in each lane; its received rows are in `lanes` then."""
    tables = run.tables
    results = [_results(each, run.inner.scored) for each in lanes]
    crossing = _fetched(run, lanes, 1)
    for number in range(tables.rounds + 1):
        for each, partials in zip(lanes, results, strict=True):
            for task in each.lane.tasks:
                if task.round == number:
                    _compute(run.inner, each, task, partials, weights, scale)
        if number < tables.rounds:
            crossing.land()
            crossing = _fetched(run, lanes, number + 2)
    if tables.returns:
        _returned(run, lanes, results).land()
    return [
        (partials[0].out.to(each.queries[0].dtype), partials[0].lse)
        for each, partials in zip(lanes, results, strict=True)
    ]


def _fetched(run: Run, lanes: Sequence[LaneInputs], number: int) -> Crossing:
    """Send keys and queries of a round off; nothing where it is empty on all ranks, or there is none."""
    crossing, tables = Crossing(), run.tables
    if number > tables.rounds or not (tables.keys_move[number] or tables.queries_move[number]):
        return crossing
    for each in lanes:
        for side, cargo in ((each.lane.keys, [each.keys, each.values]), (each.lane.queries, [each.queries])):
            deliver = storing(cargo, number, len(side.stores[number]))
            crossing.add(side.sends[number], side.gets[number], cargo, deliver)
    return crossing.depart(run.channel, lanes[0].keys[0].device, f"round {number} of the forward, {run.call}")


def _compute(
    inner: Inner, each: LaneInputs, task: Task, results: Sequence[Partial], weights: Sequence[Tensor], scale: float
) -> None:
    query, key, value = each.of(task)
    executable = inner.executable(task, each.members, "forward", query, key, value)
    out, lse = executable.forward(query, key, value, weights, scale)
    for part in task.queries.parts:
        results[part.store].merge(part.source, part.target.take(out), lse.map(part.target.take))


def _returned(run: Run, lanes: Sequence[LaneInputs], results: Sequence[Sequence[Partial]]) -> Crossing:
    """Send results of queries that came back to their owners, who merge them."""
    crossing = Crossing()
    for each, partials in zip(lanes, results, strict=True):
        results_of = [(partial.out, *partial.lse.tensors) for partial in partials]
        cargo = [list(stores) for stores in zip(*results_of, strict=True)]
        kinds = [each.queries[0].dtype, *(x.dtype for x in partials[0].lse.tensors)]
        crossing.add(each.lane.returned, each.lane.awaited, cargo, _merging(partials[0]), kinds)
    return crossing.depart(run.channel, lanes[0].keys[0].device, f"the return of results, {run.call}")


def _merging(own: Partial) -> Delivery:
    def deliver(parcel: Parcel, tensors: Sequence[Tensor]) -> None:
        for part in parcel.rows.parts:
            out, *lse = (part.target.take(tensor) for tensor in tensors)
            own.merge(part.source, out, LogSum(*lse))

    return deliver


def _results(each: LaneInputs, remainder: bool) -> list[Partial]:
    """Return results without any key, of each store of queries."""
    query, value_dim = each.queries[0], each.values[0].shape[3]
    return [
        Partial((*query.shape[:2], len(positions), value_dim), query.dtype, query.device, merges, remainder)
        for positions, merges in zip(each.lane.queries.stores, each.lane.merges, strict=True)
    ]


def _stores(own: Tensor, positions: Sequence[object]) -> Stores:
    """Return the tensor of a rank's own rows, and for each round one without rows as yet."""
    return [own, *(own[:, :, :0] for _ in positions[1:])]
