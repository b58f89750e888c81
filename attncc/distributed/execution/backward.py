"""The backward on one rank: gradients of results follow the queries that travelled, then sums travel back.

A rank that relays keys adds the sums that it gets to its own before it sends them on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.base import Gradients, Saved
from attncc.backends.logsum import LogSum
from attncc.distributed.execution.channel import PendingExchange, Stores, adding, storing
from attncc.distributed.execution.forward import HeadClassInputs, Run
from attncc.distributed.execution.tables import RankTask


class HeadClassGradients:
    """Gradients of a head class on a rank: of results, own rows first, and sums of those of inputs, by store.

    A row's gradient needs its lse and delta, the row sum of out * grad_out less the gradient of lse: for queries of
    other ranks these two travel, not out. lse: the stores of its value, and under a score those of its remainder.
    """

    def __init__(
        self, inputs: HeadClassInputs, out: Tensor, lse: LogSum, grad_out: Tensor, grad_lse: Tensor | None
    ) -> None:
        self.inputs, self.tables = inputs, inputs.tables
        take = inputs.query_heads.take
        self.out = take(out)
        self.grad_lse = None if grad_lse is None else take(grad_lse)
        own_grad, own_lse = take(grad_out), [take(x) for x in lse.tensors]
        rounds = len(inputs.queries) - 1
        self.grad_out: Stores = [own_grad] + [own_grad[:, :, :0]] * rounds
        self.lse: list[Stores] = [[own] + [own[:, :, :0]] * rounds for own in own_lse]
        self.delta: Stores = [own_lse[0][:, :, :0]] * (rounds + 1)
        if self.tables.queries.travel:
            delta = (own_grad.to(own_lse[0].dtype) * self.out).sum(-1)
            delta = delta if self.grad_lse is None else delta - self.grad_lse
            self.delta = [delta] + [delta[:, :, :0]] * rounds
        self.d_queries, self.d_keys, self.d_values = (
            [_zero_sums(x) for x in stores] for stores in (inputs.queries, inputs.keys, inputs.values)
        )

    def of(self, run: Run, task: RankTask, weights: Sequence[Tensor], scale: float, with_weights: bool) -> Gradients:
        """Return the gradients of a task."""
        query, key, value = self.inputs.of(task)
        grad_out, lse = task.queries.take(self.grad_out), LogSum(*map(task.queries.take, self.lse))
        if task.queries.is_own:
            out = task.queries.take([self.out])
            grad_lse = None if self.grad_lse is None else task.queries.take([self.grad_lse])
        else:  # what a backend computes of these two is the delta that came
            out, grad_lse = torch.zeros_like(grad_out), -task.queries.take(self.delta)
        executable = run.executables.executable(task, self.tables.subset, "backward", query, key, value)
        saved = Saved(query, key, value, weights, out, lse)
        return executable.backward(saved, grad_out, grad_lse, scale, with_weights)

    def add(self, task: RankTask, part: Gradients) -> None:
        """Add the gradients of a task to the sums."""
        task.queries.add(self.d_queries, part.query)
        task.keys.add(self.d_keys, part.key)
        task.keys.add(self.d_values, part.value)


def run_backward(
    run: Run, gradients: Sequence[HeadClassGradients], weights: Sequence[Tensor], scale: float, with_weights: bool
) -> list[Tensor]:
    """Add the gradients of a rank's own rows up in `gradients`, and return those of the weights (its share of them)."""
    sums = [_zero_sums(x) for x in weights if with_weights]

    def compute(number: int) -> None:
        for own in gradients:
            for task in own.tables.tasks:
                if task.round == number:
                    part = own.of(run, task, weights, scale, with_weights)
                    own.add(task, part)
                    for total, addend in zip(sums, part.weights, strict=False):
                        total.add_(addend)

    tables = run.tables
    if tables.returns:
        _follow(run, gradients, lambda: compute(0))
    pending = PendingExchange()
    for number in range(tables.rounds, 0, -1):
        compute(number)
        pending.wait()
        pending = _sent_back(run, gradients, number)
    if not tables.returns:
        compute(0)
    pending.wait()
    return sums


def _follow(run: Run, gradients: Sequence[HeadClassGradients], meanwhile: Callable[[], None]) -> None:
    """Send gradients, lse and delta where the queries went, and do something else during the first round."""
    for number in range(1, run.tables.rounds + 1):
        pending = PendingExchange()
        if run.tables.queries_move[number]:
            for own in gradients:
                side, payload = own.tables.queries, [own.grad_out, own.delta, *own.lse]
                deliver = storing(payload, number, len(side.stores[number]))
                pending.add(side.sends[number], side.gets[number], payload, deliver)
            what = f"round {number} of gradients of results, {run.call}"
            pending.post(run.channel, gradients[0].delta[0].device, what)
        if number == 1:
            meanwhile()
        pending.wait()


def _sent_back(run: Run, gradients: Sequence[HeadClassGradients], number: int) -> PendingExchange:
    """Post sums of the keys that a round brought to where they came from, and with the first one those of queries."""
    pending, tables = PendingExchange(), run.tables
    last = number == 1 and tables.returns
    if not (tables.keys_move[number] or last):
        return pending
    for own in gradients:
        side, payload = own.tables.keys, [own.d_keys, own.d_values]
        pending.add(side.gets[number], side.sends[number], payload, adding(payload))
        if last:
            payload = [own.d_queries]
            pending.add(own.tables.returned, own.tables.awaited, payload, adding(payload))
    return pending.post(run.channel, gradients[0].delta[0].device, f"round {number} of the backward, {run.call}")


def _zero_sums(x: Tensor) -> Tensor:
    """Return zeros in the shape of a tensor, contiguous, in its accumulation dtype."""
    return torch.zeros(x.shape, dtype=accumulation_dtype(x.dtype), device=x.device)
