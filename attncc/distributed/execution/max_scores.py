"""The greatest score of each row on one rank: a second pass over the rows that the forward has brought."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.distributed.execution.channel import Delivery, PendingExchange, Stores
from attncc.distributed.execution.forward import HeadClassInputs, Run
from attncc.distributed.execution.rows import DIM, RowMapping
from attncc.distributed.execution.tables import Message


def run_max_scores(
    run: Run, inputs: Sequence[HeadClassInputs], weights: Sequence[Tensor], scale: float
) -> list[Tensor]:
    """Return the greatest scores of a rank's own queries of each head class, -inf for rows without keys.

    `inputs` have the rows that the forward got. What was found for other ranks' queries goes to these in one exchange.
    """
    found = [_without_keys(own) for own in inputs]
    for own, stores in zip(inputs, found, strict=True):
        for task in own.tables.tasks:
            query, key, value = own.of(task)
            finder = run.executables.max_scores(task, own.tables.subset, query, key, value)
            part = finder.max_scores(query, key, weights, scale)
            for each in task.queries.parts:
                _raise(stores[each.store], each, part)
    if run.tables.returns:
        pending = PendingExchange()
        for own, stores in zip(inputs, found, strict=True):
            pending.add(own.tables.returned, own.tables.awaited, [stores], _raising(stores[0]))
        pending.post(run.channel, inputs[0].keys[0].device, f"the return of greatest scores, {run.call}").wait()
    return [stores[0] for stores in found]


def _raising(own: Tensor) -> Delivery:
    def deliver(message: Message, tensors: Sequence[Tensor]) -> None:
        for part in message.rows.parts:
            _raise(own, part, *tensors)

    return deliver


def _raise(greatest: Tensor, rows: RowMapping, part: Tensor) -> None:
    """Raise the numbers of rows to those of a part, where these are greater."""
    own = rows.source.take(greatest, DIM)
    rows.source.put(greatest, torch.maximum(own, rows.target.take(part, DIM)), DIM)


def _without_keys(own: HeadClassInputs) -> Stores:
    dtype, sizes = accumulation_dtype(own.queries[0].dtype), own.queries[0].shape[:DIM]
    stores = own.tables.queries.stores
    return [own.queries[0].new_full((*sizes, len(rows)), -math.inf, dtype=dtype) for rows in stores]
