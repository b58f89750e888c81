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
from attncc.distributed.execution.crossing import Crossing, Stores, adding, storing
from attncc.distributed.execution.forward import LaneInputs, Run
from attncc.distributed.execution.tables import Task


class LaneGradients:
    """Of a lane on a rank: what is known of results, own rows first, and sums of gradients by store.

    A row's gradient needs its lse and delta, the row sum of out * grad_out less the gradient of lse: for queries of
    other ranks these two travel, not out. lse: the stores of its value, and under a score those of its remainder.
    """

    def __init__(self, inputs: LaneInputs, out: Tensor, lse: LogSum, grad_out: Tensor, grad_lse: Tensor | None) -> None:
        self.inputs, self.lane = inputs, inputs.lane
        members, group = inputs.members, inputs.group
        self.out = members.take(out, group)
        self.grad_lse = None if grad_lse is None else members.take(grad_lse, group)
        own_grad, own_lse = members.take(grad_out, group), [members.take(x, group) for x in lse.tensors]
        rounds = len(inputs.queries) - 1
        self.grad_out: Stores = [own_grad] + [own_grad[:, :, :0]] * rounds
        self.lse: list[Stores] = [[own] + [own[:, :, :0]] * rounds for own in own_lse]
        self.delta: Stores = [own_lse[0][:, :, :0]] * (rounds + 1)
        if self.lane.queries.travel:
            delta = (own_grad.to(own_lse[0].dtype) * self.out).sum(-1)
            delta = delta if self.grad_lse is None else delta - self.grad_lse
            self.delta = [delta] + [delta[:, :, :0]] * rounds
        self.d_queries, self.d_keys, self.d_values = (
            [torch.zeros(x.shape, dtype=accumulation_dtype(x.dtype), device=x.device) for x in stores]
            for stores in (inputs.queries, inputs.keys, inputs.values)
        )

    def gradients(self, run: Run, task: Task, weights: Sequence[Tensor], scale: float, with_weights: bool) -> Gradients:
        """Return the gradients of a task."""
        query, key, value = self.inputs.of(task)
        grad_out, lse = task.queries.take(self.grad_out), LogSum(*map(task.queries.take, self.lse))
        if task.queries.is_own:
            out = task.queries.take([self.out])
            grad_lse = None if self.grad_lse is None else task.queries.take([self.grad_lse])
        else:  # what a backend computes of these two is the delta that came
            out, grad_lse = torch.zeros_like(grad_out), -task.queries.take(self.delta)
        executable = run.inner.executable(task, self.inputs.members, "backward", query, key, value)
        saved = Saved(query, key, value, weights, out, lse)
        return executable.backward(saved, grad_out, grad_lse, scale, with_weights)

    def add(self, task: Task, found: Gradients) -> None:
        """Add the gradients of a task to the sums."""
        task.queries.add(self.d_queries, found.query)
        task.keys.add(self.d_keys, found.key)
        task.keys.add(self.d_values, found.value)


def run_backward(
    run: Run, lanes: Sequence[LaneGradients], weights: Sequence[Tensor], scale: float, with_weights: bool
) -> list[Tensor]:
    """Add the gradients of a rank's own rows up in `lanes`, and return those of the weights (its share of them)."""
    sums = [torch.zeros(x.shape, dtype=accumulation_dtype(x.dtype), device=x.device) for x in weights if with_weights]

    def compute(number: int) -> None:
        for each in lanes:
            for task in each.lane.tasks:
                if task.round == number:
                    found = each.gradients(run, task, weights, scale, with_weights)
                    each.add(task, found)
                    for total, part in zip(sums, found.weights, strict=False):
                        total.add_(part)

    tables = run.tables
    if tables.returns:
        _follow(run, lanes, lambda: compute(0))
    crossing = Crossing()
    for number in range(tables.rounds, 0, -1):
        compute(number)
        crossing.land()
        crossing = _sent_back(run, lanes, number)
    if not tables.returns:
        compute(0)
    crossing.land()
    return sums


def _follow(run: Run, lanes: Sequence[LaneGradients], meanwhile: Callable[[], None]) -> None:
    """Send what is known of results where the queries went, and do something else during the first round."""
    for number in range(1, run.tables.rounds + 1):
        crossing = Crossing()
        if run.tables.queries_move[number]:
            for each in lanes:
                side, cargo = each.lane.queries, [each.grad_out, each.delta, *each.lse]
                deliver = storing(cargo, number, len(side.stores[number]))
                crossing.add(side.sends[number], side.gets[number], cargo, deliver)
            what = f"round {number} of gradients of results, {run.call}"
            crossing.depart(run.channel, lanes[0].delta[0].device, what)
        if number == 1:
            meanwhile()
        crossing.land()


def _sent_back(run: Run, lanes: Sequence[LaneGradients], number: int) -> Crossing:
    """Send sums of the keys that a round brought back where they came from, and with the first one those of queries."""
    crossing, tables = Crossing(), run.tables
    last = number == 1 and tables.returns
    if not (tables.keys_move[number] or last):
        return crossing
    for each in lanes:
        side, cargo = each.lane.keys, [each.d_keys, each.d_values]
        crossing.add(side.gets[number], side.sends[number], cargo, adding(cargo))
        if last:
            cargo = [each.d_queries]
            crossing.add(each.lane.returned, each.lane.awaited, cargo, adding(cargo))
    return crossing.depart(run.channel, lanes[0].delta[0].device, f"round {number} of the backward, {run.call}")
