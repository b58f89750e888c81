"""Execution: the tile batches of each group of heads run one after the other, and merge by log-sum-exp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncc.backends.accumulation import accumulation_dtype, sums_like
from attncc.backends.base import Gradients, Saved
from attncc.backends.latent import is_view_of_key
from attncc.backends.logsum import LogSum
from attncc.backends.merge import merge, put
from attncc.backends.torch.config import Config, Tiling
from attncc.backends.torch.group_scores import GroupScore
from attncc.backends.torch.kernels import ItemGradients, TileKernel, kernel_for
from attncc.backends.torch.lower import TileSchedule, schedule
from attncc.backends.torch.masks import Additive
from attncc.backends.torch.selection import Selection
from attncc.backends.torch.tile_batch import TileBatch
from attncc.ir.score import ScoreExpression
from attncc.planner.passes import Group
from attncc.planner.plan import Plan

Schedules = tuple[tuple[Group, TileSchedule], ...]


@dataclass(frozen=True, eq=False)
class TorchExecutable:
    """A plan with its schedules, made when first needed; see attncc.backends.base.Executable for shapes."""

    plan: Plan
    score: ScoreExpression
    config: Config

    @cached_property
    def _forward_schedules(self) -> Schedules:
        return _schedules(self.plan, self.config.forward)

    @cached_property
    def _backward_schedules(self) -> Schedules:
        return _schedules(self.plan, self.config.backward)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse)."""
        value_dim = value.shape[-1]
        query, key, value = _one_head_size(query, key, value)
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        lse = LogSum.room(query, remainder=not self.score.is_identity)
        for group, tile_batches in self._forward_schedules:
            selection = Selection.of(group, query.shape[1], key.shape[1])
            run = self._run(tile_batches, self.config.forward, selection, query, weights, (), scale)
            q, k, v = selection.query_side(query), selection.key_side(key), selection.key_side(value)
            part_out, part_lse = run.forward(q, k, v)
            if selection.everything:
                out, lse = part_out.reshape(out.shape), part_lse.map(lambda x: x.reshape(query.shape[:-1]))
            else:
                for whole, part in zip((out, *lse.tensors), (part_out, *part_lse.tensors), strict=True):
                    selection.store_query_side(whole, part)
        return out[..., :value_dim].contiguous(), lse

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients of query, key and value, and of the weights."""
        dims, dtype = (saved.query.shape[-1], saved.key.shape[-1], saved.value.shape[-1]), saved.query.dtype
        d_weights = [sums_like(x, dtype) for x in saved.weights if with_weights]
        padded, grad_out = _padded(saved, grad_out, grad_lse)
        found = self._gradients(padded, grad_out, d_weights, scale)
        d_query, d_key, d_value = (x[..., :dim].to(dtype).contiguous() for x, dim in zip(found, dims, strict=True))
        typed = [sums.to(x.dtype) for sums, x in zip(d_weights, saved.weights, strict=False)]
        return Gradients(d_query, d_key, d_value, typed)

    def _gradients(self, saved: Saved, grad_out: Tensor, d_weights: Sequence[Tensor], scale: float) -> ItemGradients:
        """Return the gradients in the accumulation dtype, (B, H, N, D) with D as padded; add to those of weights."""
        query, key, value = saved.query, saved.key, saved.value
        sums: ItemGradients | None = None
        for group, tile_batches in self._backward_schedules:
            selection = Selection.of(group, query.shape[1], key.shape[1])
            run = self._run(tile_batches, self.config.backward, selection, query, saved.weights, d_weights, scale)
            q, do, o = (selection.query_side(x) for x in (query, grad_out, saved.out))
            s = saved.lse.map(selection.query_side)
            k, v = selection.key_side(key), selection.key_side(value)
            d_query, d_key, d_value = run.backward(Saved(q, k, v, (), o, s), do)
            if selection.everything:
                return d_query.reshape(query.shape), d_key.reshape(key.shape), d_value.reshape(value.shape)
            sums = sums or (sums_like(query), sums_like(key), sums_like(value))
            selection.store_query_side(sums[0], d_query)
            selection.add_key_side(sums[1], d_key)
            selection.add_key_side(sums[2], d_value)
        assert sums is not None  # a plan has a group for every head
        return sums

    def _run(
        self,
        tile_batches: TileSchedule,
        tiling: Tiling,
        selection: Selection,
        query: Tensor,
        weights: Sequence[Tensor],
        sums: Sequence[Tensor],
        scale: float,
    ) -> _GroupRun:
        score = None
        if not self.score.is_identity:
            score = GroupScore.of(self.score, weights, sums, self.plan.shape, selection, query)
        return _GroupRun(tile_batches, query.device, score, scale, tiling.chunk)


@dataclass(frozen=True)
class _GroupRun:
    """One group's schedule on folded tensors: queries (X, G, N, D), keys (X, N, D), values (X, N, Dv)."""

    schedule: TileSchedule
    device: torch.device
    score: GroupScore | None
    scale: float
    chunk: int

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, LogSum]:
        out, lse = self._accumulators(query, value)
        for tiles in self.schedule.tile_batches:
            for part in tiles.chunks(self.chunk // query.shape[0]):
                mask = _additive(part, query)
                k, v = part.keys(key), part.keys(value)
                for kernel, heads in self._kernels(part, query.shape[1]):
                    seen = mask and mask.for_heads(len(heads))
                    o, s = kernel.forward(_stacked(part, query, heads), k, v, _bias(seen), part.causal, self.scale)
                    o, s = _without_empty_rows(o, s, seen)
                    by_head = zip(*(_unstacked(part, x) for x in (o, *s.tensors)), strict=True)
                    for g, (o_g, *s_g) in zip(heads, by_head, strict=True):
                        whole = LogSum(*(x[:, g] for x in lse.tensors))
                        (put if tiles.first else merge)(part.rows, out[:, g], whole, o_g, LogSum(*s_g))
        return out.to(query.dtype), lse

    def _accumulators(self, query: Tensor, value: Tensor) -> tuple[Tensor, LogSum]:
        dtype = accumulation_dtype(query.dtype)
        kept = query.dtype if all(tiles.first for tiles in self.schedule.tile_batches) else dtype
        out = torch.empty(*query.shape[:-1], value.shape[-1], dtype=kept, device=query.device)
        lse = LogSum.room(query, remainder=self.score is not None)
        if not self.schedule.covered:
            out.zero_()
            lse = LogSum.of_nothing(lse.value, remainder=self.score is not None)
        return out, lse

    def backward(self, saved: Saved, grad_out: Tensor) -> ItemGradients:
        sums = sums_like(saved.query), sums_like(saved.key), sums_like(saved.value)
        lse = saved.lse.value
        lse = lse.masked_fill(lse == -math.inf, math.inf)  # exp(score - inf) = 0 on rows without keys
        saved = replace(saved, lse=saved.lse._replace(value=lse))
        for tiles in self.schedule.tile_batches:
            for part in tiles.chunks(self.chunk // len(lse)):
                self._backward_part(part, saved, grad_out, sums)
        return sums

    def _backward_part(self, part: TileBatch, saved: Saved, grad_out: Tensor, sums: ItemGradients) -> None:
        mask = _additive(part, saved.query)
        k, v = part.keys(saved.key), part.keys(saved.value)
        for kernel, heads in self._kernels(part, saved.query.shape[1]):
            q, o, do = (_stacked(part, x, heads) for x in (saved.query, saved.out, grad_out))
            s = LogSum(*(_stacked(part, x, heads) for x in saved.lse.tensors))
            seen = mask and mask.for_heads(len(heads))
            q, o, do = (_zero_where_empty(x, seen) for x in (q, o, do))
            dq, dk, dv = kernel.backward(Saved(q, k, v, (), o, s), do, _bias(seen), part.causal, self.scale)
            for g, dq_g in zip(heads, _unstacked(part, dq), strict=True):
                (part.rows.put if part.first else part.rows.add)(sums[0][:, g], dq_g)
            part.cols.add(sums[1], dk)
            part.cols.add(sums[2], dv)

    def _kernels(self, part: TileBatch, group: int) -> list[tuple[TileKernel, list[int]]]:
        """Return (kernel, heads) that cover the `group` query heads that share keys.

        Heads that run together are rows of one item, which reads its keys once.
        """
        if self.score is not None:
            return [(kernel_for(self.device, score), [g]) for g, score in enumerate(self.score.on(part))]
        kernel = kernel_for(self.device)
        return [(kernel, [g]) for g in range(group)] if part.causal else [(kernel, list(range(group)))]


def _schedules(plan: Plan, tiling: Tiling) -> Schedules:
    rows = plan.shape.q_len
    return tuple((group, schedule(group.passes, rows, tiling, group.simplest.passes)) for group in plan.groups)


def _stacked(part: TileBatch, x: Tensor, heads: list[int]) -> Tensor:
    """Return the part's rows of some heads of x (X, G, N, ...) below each other, (X, T, heads * L, ...)."""
    taken = [part.rows.take(x[:, g]) for g in heads]
    return taken[0] if len(taken) == 1 else torch.cat(taken, 2)


def _unstacked(part: TileBatch, x: Tensor) -> tuple[Tensor, ...]:
    """Undo `_stacked`: return (X, T, L, ...) of each head."""
    return torch.split(x, part.rows.length, 2)


def _additive(part: TileBatch, query: Tensor) -> Additive | None:
    return None if part.mask is None else part.mask.additive(query.device, query.dtype)


def _bias(mask: Additive | None) -> Tensor | None:
    return None if mask is None else mask.bias


def _one_head_size(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad with zeros to one head size, as the flash op wants it: neither scores nor outputs change.

    A value that is a view of its key has the key's other columns in place of zeros, and isn't copied: outputs of these
    are cut off, and the gradients that meet them are 0.
    """
    if is_view_of_key(value, key):
        value = key
    size = max(query.shape[-1], value.shape[-1])
    q, k, v = (_rows_of(x, size) for x in (query, key, value))
    return q, k, v


def _padded(saved: Saved, grad_out: Tensor, grad_lse: Tensor | None) -> tuple[Saved, Tensor]:
    """Return what the forward left and the gradient of out, with one head size and the gradient of lse in them."""
    grad_out, value, out = _with_lse_gradient(grad_out, grad_lse, saved.value, saved.out)
    query, key, value = _one_head_size(saved.query, saved.key, value)
    grad_out, out = (pad(x, (0, value.shape[-1] - x.shape[-1])) for x in (grad_out, out))
    return replace(saved, query=query, key=key, value=value, out=out), grad_out


def _rows_of(x: Tensor, size: int) -> Tensor:
    """Return x with rows of `size` contiguous elements."""
    if x.shape[-1] < size:
        return pad(x, (0, size - x.shape[-1]))
    return x if x.stride(-1) == 1 else x.contiguous()


def _with_lse_gradient(
    grad_out: Tensor, grad_lse: Tensor | None, value: Tensor, out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Append a column that adds -grad_lse to delta = rowsum(dO * O) and nothing to dO V^T."""
    if grad_lse is None:
        return grad_out, value, out
    ones = torch.ones_like(grad_out[..., :1])
    minus = -grad_lse.to(out.dtype).unsqueeze(-1)
    return torch.cat([grad_out, ones], -1), pad(value, (0, 1)), torch.cat([out, minus], -1)


def _zero_where_empty(x: Tensor, mask: Additive | None) -> Tensor:
    """Return rows of queries, 0 where they see no key of the item, whose gradients 0 times a NaN there would reach."""
    return x if mask is None or mask.empty is None else x.masked_fill(mask.empty.unsqueeze(-1), 0.0)


def _without_empty_rows(out: Tensor, lse: LogSum, mask: Additive | None) -> tuple[Tensor, LogSum]:
    """Give rows of an item that see none of its keys out 0 and lse -inf, whatever the kernel left there."""
    if mask is None or mask.empty is None:
        return out, lse
    return out.masked_fill(mask.empty.unsqueeze(-1), 0.0), lse.masked(mask.empty)
