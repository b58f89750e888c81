"""The forward on one rank: tasks run while the next round of the exchange is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum
from attncc.backends.merge import merge
from attncc.backends.slots import Slots
from attncc.distributed.execution.agreement import CallSizes
from attncc.distributed.execution.channel import Channel, Delivery, PendingExchange, Stores, storing
from attncc.distributed.execution.rows import DIM, RowMapping
from attncc.distributed.execution.tables import HeadClassTables, Message, RankTables, RankTask
from attncc.distributed.execution.task_executables import TaskExecutables


@dataclass(frozen=True, eq=False)
class Run:
    """What a rank needs to run its part of a schedule.

    Attributes:
        channel: Between the ranks that run the schedule, None where that is this rank alone.
        call: The sizes of a call, in words, for errors.
    """

    tables: RankTables
    executables: TaskExecutables
    channel: Channel | None
    call: str = ""

    def prepare(self, sizes: CallSizes, device: torch.device) -> None:
        """Make what runs the tasks on tensors of these sizes, so that the first call needn't."""
        element = torch.empty((), dtype=sizes.dtype, device=device)  # repeated, so that nothing is allocated
        for head_class in self.tables.head_classes:
            batch, kv_heads = (len(some) for some in head_class.subset.members(sizes.batch, sizes.kv_heads))
            heads = kv_heads * (sizes.heads // sizes.kv_heads)
            for task in head_class.tasks:
                queries, keys = len(task.query_positions), len(task.key_positions)
                query = element.expand(batch, heads, queries, sizes.head_dim)
                key = element.expand(batch, kv_heads, keys, sizes.head_dim)
                value = element.expand(batch, kv_heads, keys, sizes.value_dim)
                for direction in sizes.directions:
                    self.executables.executable(task, head_class.subset, direction, query, key, value)


class HeadClassInputs:
    """A head class's tensors on a rank: queries, keys and values of each store, own rows first."""

    def __init__(self, tables: HeadClassTables, query: Tensor, key: Tensor, value: Tensor) -> None:
        self.tables = tables
        self.query_heads = tables.subset.query_heads(query.shape[1] // key.shape[1])
        self.queries = _stores(self.query_heads.take(query), tables.queries.stores)
        self.keys = _stores(tables.subset.take(key), tables.keys.stores)
        self.values = _stores(tables.subset.take(value), tables.keys.stores)

    @property
    def received(self) -> list[Tensor]:
        """What the rounds brought, to be put back with `restore`."""
        return [*self.queries[1:], *self.keys[1:], *self.values[1:]]

    def restore(self, received: Sequence[Tensor]) -> None:
        """Put back what the rounds of an earlier run brought."""
        rounds = len(self.keys) - 1
        for part, stores in enumerate((self.queries, self.keys, self.values)):
            stores[1:] = received[part * rounds : (part + 1) * rounds]

    def of(self, task: RankTask) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value of a task."""
        return task.queries.take(self.queries), task.keys.take(self.keys), task.keys.take(self.values)


class Partial:
    """Results of the rows of a store, (B, H, N, Dv), so far; in the accumulation dtype where several meet in a row.

    Attributes:
        remainder: lse comes with what its rounding has left off, as under a score.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, merges: bool, remainder: bool
    ) -> None:
        self._shape, self._device, self._remainder = tuple(shape), device, remainder
        self._lse_dtype = accumulation_dtype(dtype)
        self._dtype = self._lse_dtype if merges else dtype
        self._results: tuple[Tensor, LogSum] | None = None

    @property
    def results(self) -> tuple[Tensor, LogSum]:
        """out (B, H, N, Dv) and lse (B, H, N); 0 and -inf where a row has seen no key."""
        if self._results is None:
            lse = torch.empty(self._shape[:3], dtype=self._lse_dtype, device=self._device)
            out = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
            self._results = out, LogSum.of_nothing(lse, remainder=self._remainder)
        return self._results

    def merge(self, rows: Slots, out: Tensor, lse: LogSum) -> None:
        """Add the results of `rows` over other keys; the tensors may be kept and written to."""
        lse = LogSum(lse.value, lse.rest) if self._remainder else lse
        if self._results is None and rows.are_all(self._shape[DIM]):
            self._results = out.to(self._dtype), lse
        else:
            merge(rows, *self.results, out, lse, DIM)


def run_forward(
    run: Run, inputs: Sequence[HeadClassInputs], weights: Sequence[Tensor], scale: float
) -> list[tuple[Tensor, LogSum]]:
    """Return (out, lse) of a rank's own queries of each head class; its received rows are in `inputs` then."""
    tables = run.tables
    results = [_without_keys(own, run.executables.scored) for own in inputs]
    pending = _fetched(run, inputs, 1)
    for number in range(tables.rounds + 1):
        for own, partials in zip(inputs, results, strict=True):
            for task in own.tables.tasks:
                if task.round == number:
                    _compute(run.executables, own, task, partials, weights, scale)
        if number < tables.rounds:
            pending.wait()
            pending = _fetched(run, inputs, number + 2)
    if tables.returns:
        _returned(run, inputs, results).wait()
    own_results = (partials[0].results for partials in results)
    return [(out.to(own.queries[0].dtype), lse) for own, (out, lse) in zip(inputs, own_results, strict=True)]


def _fetched(run: Run, inputs: Sequence[HeadClassInputs], number: int) -> PendingExchange:
    """Post keys and queries of a round; nothing where it is empty on all ranks, or there is none."""
    pending, tables = PendingExchange(), run.tables
    if number > tables.rounds or not (tables.keys_move[number] or tables.queries_move[number]):
        return pending
    for own in inputs:
        for side, payload in ((own.tables.keys, [own.keys, own.values]), (own.tables.queries, [own.queries])):
            deliver = storing(payload, number, len(side.stores[number]))
            pending.add(side.sends[number], side.gets[number], payload, deliver)
    return pending.post(run.channel, inputs[0].keys[0].device, f"round {number} of the forward, {run.call}")


def _compute(
    executables: TaskExecutables,
    own: HeadClassInputs,
    task: RankTask,
    results: Sequence[Partial],
    weights: Sequence[Tensor],
    scale: float,
) -> None:
    query, key, value = own.of(task)
    executable = executables.executable(task, own.tables.subset, "forward", query, key, value)
    out, lse = executable.forward(query, key, value, weights, scale)
    for part in task.queries.parts:
        _merge(results[part.store], part, out, *lse.tensors)


def _returned(run: Run, inputs: Sequence[HeadClassInputs], results: Sequence[Sequence[Partial]]) -> PendingExchange:
    """Post the results of queries that came to their owners, who merge them."""
    pending = PendingExchange()
    for own, partials in zip(inputs, results, strict=True):
        tensors = [(out, *lse.tensors) for out, lse in (partial.results for partial in partials)]
        payload = [list(stores) for stores in zip(*tensors, strict=True)]
        dtypes = [own.queries[0].dtype, *(x.dtype for x in tensors[0][1:])]
        pending.add(own.tables.returned, own.tables.awaited, payload, _merging(partials[0]), dtypes)
    return pending.post(run.channel, inputs[0].keys[0].device, f"the return of results, {run.call}")


def _merging(own: Partial) -> Delivery:
    def deliver(message: Message, tensors: Sequence[Tensor]) -> None:
        for part in message.rows.parts:
            _merge(own, part, *tensors)

    return deliver


def _merge(partial: Partial, part: RowMapping, out: Tensor, *lse: Tensor) -> None:
    """Merge the rows of (out, lse) that a mapping takes to the store of a partial result."""
    own_out, *own_lse = (part.target.take(x, DIM) for x in (out, *lse))
    partial.merge(part.source, own_out, LogSum(*own_lse))


def _without_keys(own: HeadClassInputs, remainder: bool) -> list[Partial]:
    """Return results without any key, of each store of queries."""
    query, value_dim = own.queries[0], own.values[0].shape[3]
    return [
        Partial((*query.shape[:2], len(positions), value_dim), query.dtype, query.device, merges, remainder)
        for positions, merges in zip(own.tables.queries.stores, own.tables.merges, strict=True)
    ]


def _stores(own: Tensor, positions: Sequence[object]) -> Stores:
    """Return the tensor of a rank's own rows, and for each round one without rows as yet."""
    return [own, *(own[:, :, :0] for _ in positions[1:])]
