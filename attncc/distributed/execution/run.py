"""Attention on one rank of a sequence group, differentiable: every rank calls it, forward and backward, in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum
from attncc.distributed.execution.backward import LaneGradients, run_backward
from attncc.distributed.execution.forward import LaneInputs, Run, run_forward
from attncc.distributed.execution.once import once


def attend(
    run: Run, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
) -> tuple[Tensor, Tensor]:
    """Return (out, lse) of a rank's own rows, query (B, Hq, n, D), key (B, Hkv, n, D), value (B, Hkv, n, Dv).

    Gradients of weights are a rank's share: those of all ranks add up to the gradient. Raises what planning and
    lowering raise, and DistributedError when a rank dies or hangs.
    """
    found: tuple[Tensor, Tensor] = _Attend.apply(run, scale, query, key, value, *weights)  # type: ignore[no-untyped-call]
    return found


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, scale: float, query: Tensor, key: Tensor, value: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        lanes = _lanes(run, query, key, value)
        results = run_forward(run, lanes, weights, scale)
        out, lse = _joined(run, query, value, results)
        received = [x for lane in lanes for x in lane.received]
        ctx.save_for_backward(query, key, value, out, *lse.tensors, *weights, *received)
        ctx.run, ctx.scale, ctx.lse, ctx.weights = run, scale, len(lse.tensors), len(weights)
        ctx.set_materialize_grads(False)
        return out, lse.value

    @staticmethod
    @once
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[tuple[Any, ...], Sequence[Tensor]]:
        query, key, value, out, *rest = ctx.saved_tensors
        run: Run = ctx.run
        lse, rest = LogSum(*rest[: ctx.lse]), rest[ctx.lse :]
        weights, received = rest[: ctx.weights], rest[ctx.weights :]
        lanes = _lanes(run, query, key, value)
        for lane in lanes:
            count = len(lane.received)
            lane.restore(received[:count])
            received = received[count:]
        given = torch.zeros_like(out) if grad_out is None else grad_out
        found = [LaneGradients(lane, out, lse, given, grad_lse) for lane in lanes]
        with_weights = any(ctx.needs_input_grad[5:])
        sums = run_backward(run, found, weights, ctx.scale, with_weights)
        d_query, d_key, d_value = _gathered(found, query, key, value)
        typed = [total.to(x.dtype) for total, x in zip(sums, weights, strict=False)]
        for_weights = typed if with_weights else [None] * len(weights)
        return (None, None, d_query, d_key, d_value, *for_weights), (query, key, value, *weights)


def _lanes(run: Run, query: Tensor, key: Tensor, value: Tensor) -> list[LaneInputs]:
    return [
        LaneInputs(lane, members, query, key, value)
        for lane, members in zip(run.tables.lanes, run.members, strict=True)
    ]


def _joined(run: Run, query: Tensor, value: Tensor, results: Sequence[tuple[Tensor, LogSum]]) -> tuple[Tensor, LogSum]:
    """Return the results of all lanes as one."""
    if len(results) == 1 and run.members[0].heads is None:
        return results[0]
    group = query.shape[1] // value.shape[1]
    out = query.new_zeros(*query.shape[:3], value.shape[3])
    like = query.new_empty(query.shape[:3], dtype=accumulation_dtype(query.dtype))
    lse = LogSum.of_nothing(like, remainder=run.inner.scored)
    for members, (part_out, part_lse) in zip(run.members, results, strict=True):
        for whole, part in zip((out, *lse.tensors), (part_out, *part_lse.tensors), strict=True):
            members.put(whole, part, group)
    return out, lse


def _gathered(lanes: Sequence[LaneGradients], query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """Return the gradients of a rank's own rows in the dtypes of the inputs."""
    found = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (query, key, value)]
    for lane in lanes:
        members, group = lane.inputs.members, lane.inputs.group
        sums = lane.d_queries[0], lane.d_keys[0], lane.d_values[0]
        for x, total, share in zip(found, sums, (group, 1, 1), strict=True):
            members.put(x, total, share)
    return found
