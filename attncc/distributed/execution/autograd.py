"""Attention on one rank of a sequence group, differentiable: every rank calls it, forward and backward, in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum
from attncc.distributed.execution.backward import HeadClassGradients, run_backward
from attncc.distributed.execution.first_order import first_order_only
from attncc.distributed.execution.forward import HeadClassInputs, Run, run_forward
from attncc.distributed.execution.max_scores import run_max_scores


def attend(
    run: Run, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
) -> tuple[Tensor, ...]:
    """Return (out, lse) of a rank's own rows, query (B, Hq, n, D), key (B, Hkv, n, D), value (B, Hkv, n, Dv).

    The greatest scores are the third result where the call asks for them.
    Gradients of weights are a rank's share: those of all ranks add up to the gradient. Raises what planning and
    lowering raise, and DistributedError when a rank dies or hangs.
    """
    results: tuple[Tensor, ...] = _RankAttention.apply(run, scale, query, key, value, *weights)  # type: ignore[no-untyped-call]
    return results


class _RankAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: Run, scale: float, query: Tensor, key: Tensor, value: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        inputs = _inputs(run, query, key, value)
        results = run_forward(run, inputs, weights, scale)
        out, lse = _joined(run, query, value, inputs, results)
        received = [x for own in inputs for x in own.received]
        ctx.save_for_backward(query, key, value, out, *lse.tensors, *weights, *received)
        ctx.run, ctx.scale, ctx.lse, ctx.weights = run, scale, len(lse.tensors), len(weights)
        ctx.set_materialize_grads(False)
        if not run.executables.call.return_max_scores:
            return out, lse.value
        greatest = torch.empty_like(lse.value)
        for own, part in zip(inputs, run_max_scores(run, inputs, weights, scale), strict=True):
            own.query_heads.put(greatest, part)
        ctx.mark_non_differentiable(greatest)
        return out, lse.value, greatest

    @staticmethod
    @first_order_only
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None, *of_rest: None
    ) -> tuple[tuple[Any, ...], Sequence[Tensor]]:
        query, key, value, out, *rest = ctx.saved_tensors
        run: Run = ctx.run
        lse, rest = LogSum(*rest[: ctx.lse]), rest[ctx.lse :]
        weights, received = rest[: ctx.weights], rest[ctx.weights :]
        inputs = _inputs(run, query, key, value)
        for own in inputs:
            count = len(own.received)
            own.restore(received[:count])
            received = received[count:]
        given = torch.zeros_like(out) if grad_out is None else grad_out
        gradients = [HeadClassGradients(own, out, lse, given, grad_lse) for own in inputs]
        with_weights = any(ctx.needs_input_grad[5:])
        sums = run_backward(run, gradients, weights, ctx.scale, with_weights)
        d_query, d_key, d_value = _gathered(gradients, query, key, value)
        typed = [total.to(x.dtype) for total, x in zip(sums, weights, strict=False)]
        for_weights = typed if with_weights else [None] * len(weights)
        return (None, None, d_query, d_key, d_value, *for_weights), (query, key, value, *weights)


def _inputs(run: Run, query: Tensor, key: Tensor, value: Tensor) -> list[HeadClassInputs]:
    return [HeadClassInputs(tables, query, key, value) for tables in run.tables.head_classes]


def _joined(
    run: Run,
    query: Tensor,
    value: Tensor,
    inputs: Sequence[HeadClassInputs],
    results: Sequence[tuple[Tensor, LogSum]],
) -> tuple[Tensor, LogSum]:
    """Return the results of all head classes as one."""
    if len(results) == 1 and inputs[0].query_heads.everything:
        return results[0]
    out = query.new_zeros(*query.shape[:3], value.shape[3])
    like = query.new_empty(query.shape[:3], dtype=accumulation_dtype(query.dtype))
    lse = LogSum.of_nothing(like, remainder=run.executables.scored)
    for own, (part_out, part_lse) in zip(inputs, results, strict=True):
        for whole, part in zip((out, *lse.tensors), (part_out, *part_lse.tensors), strict=True):
            own.query_heads.put(whole, part)
    return out, lse


def _gathered(gradients: Sequence[HeadClassGradients], query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """Return the gradients of a rank's own rows in the dtypes of the inputs."""
    wholes = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (query, key, value)]
    for own in gradients:
        for_queries, for_keys = own.inputs.query_heads, own.tables.subset
        sums = own.d_queries[0], own.d_keys[0], own.d_values[0]
        for whole, total, subset in zip(wholes, sums, (for_queries, for_keys, for_keys), strict=True):
            subset.put(whole, total)
    return wholes
