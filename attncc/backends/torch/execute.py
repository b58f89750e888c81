"""Execution: the launches of each group of heads run one after the other, and merge by log-sum-exp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from operator import methodcaller

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncc.backends.accumulation import accumulation_dtype, sums_like
from attncc.backends.base import Gradients, Saved
from attncc.backends.latent import is_view_of_key
from attncc.backends.logsum import LogSum
from attncc.backends.merge import merge, put
from attncc.backends.torch.config import Config
from attncc.backends.torch.group_scores import GroupScore
from attncc.backends.torch.kernels import ItemGradients, TileKernel, kernel_for
from attncc.backends.torch.launches import GroupLaunches, PlanLaunches, TileLaunch
from attncc.backends.torch.masks import Additive
from attncc.backends.torch.max_scores import max_scores
from attncc.backends.torch.range_launches import forward as of_ranges
from attncc.backends.torch.range_launches import range_launches
from attncc.backends.torch.selection import Selection
from attncc.ir.score import ScoreExpression
from attncc.planner.plan import Plan

#: Head sizes that the gradient of lse extends are multiples of it: products of odd sizes take half as long again.
VECTOR = 8
#: The most that the gradient of a row's lse may be, beside the largest of its out, to be put into its out.
MOST_SHIFT = 1e12


class TorchExecutable:
    """A plan with its launches, made when first needed; see attncc.backends.base.Executable for shapes."""

    def __init__(self, plan: Plan, score: ScoreExpression, config: Config) -> None:
        self.plan, self.score, self.config = plan, score, config
        self._scored = not score.is_identity
        self._ranges = None if self._scored or plan.listed is None else range_launches(plan.listed)

    @cached_property
    def _forward_launches(self) -> PlanLaunches:
        return PlanLaunches(self.plan, self.config.forward, self._scored)

    @cached_property
    def _backward_launches(self) -> PlanLaunches:
        return PlanLaunches(self.plan, self.config.backward, self._scored)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse)."""
        of_values = value
        query, key, value = _one_head_size(query, key, value)
        if self._ranges is not None:
            out, lse = of_ranges(self._ranges, query, key, value, scale)
            return _cut(out, of_values), lse
        whole: tuple[Tensor, LogSum] | None = None
        for group in self._forward_launches.on(query, key):
            selection = group.selection
            score = self._score(weights, (), selection, query)
            sides = selection.query_side(query), selection.key_side(key), selection.key_side(value)
            out, lse = _forward(group, *sides, score, scale)
            if selection.everything:
                batch, heads, rows, _ = query.shape
                whole = out.reshape_as(query), lse.map(methodcaller("reshape", batch, heads, rows))
                break
            whole = whole or _room(query, remainder=score is not None)
            for x, part in zip((whole[0], *whole[1].tensors), (out, *lse.tensors), strict=True):
                selection.store_query_side(x, part)
        assert whole is not None  # a plan has a group for every head
        return _cut(whole[0], of_values), whole[1]

    def max_scores(self, query: Tensor, key: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        """See attncc.backends.base.FindsMaxScores."""
        groups = self._forward_launches.on(query, key)
        return max_scores(groups, lambda group: self._score(weights, (), group, query), query, key, scale)

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients of query, key and value, and of the weights."""
        query, key, value, dtype = saved.query, saved.key, saved.value, saved.query.dtype
        d_weights = [sums_like(x, dtype) for x in saved.weights if with_weights]
        padded, grad_out = _padded(saved, grad_out, grad_lse)
        sums = self._gradients(padded, grad_out, d_weights, scale)
        d_query, d_key, d_value = (_cut(x, like).to(dtype) for x, like in zip(sums, (query, key, value), strict=True))
        typed = [sums.to(x.dtype) for sums, x in zip(d_weights, saved.weights, strict=False)]
        return Gradients(d_query, d_key, d_value, typed)

    def _gradients(self, saved: Saved, grad_out: Tensor, d_weights: Sequence[Tensor], scale: float) -> ItemGradients:
        """Return the gradients (B, H, N, D), with D as padded; add to those of weights."""
        query, key, value = saved.query, saved.key, saved.value
        sums: ItemGradients | None = None
        for group in self._backward_launches.on(query, key):
            selection = group.selection
            score = self._score(saved.weights, d_weights, selection, query)
            q, o, do = selection.query_side(query), selection.query_side(saved.out), selection.query_side(grad_out)
            k, v, s = selection.key_side(key), selection.key_side(value), saved.lse.map(selection.query_side)
            d_query, d_key, d_value = _backward(group, Saved(q, k, v, (), o, s), do, score, scale)
            if selection.everything:
                return d_query.reshape_as(query), d_key.reshape_as(key), d_value.reshape_as(value)
            sums = sums or (sums_like(query), sums_like(key), sums_like(value))
            selection.store_query_side(sums[0], d_query)
            selection.add_key_side(sums[1], d_key)
            selection.add_key_side(sums[2], d_value)
        assert sums is not None  # a plan has a group for every head
        return sums

    def _score(
        self, weights: Sequence[Tensor], sums: Sequence[Tensor], selection: Selection, query: Tensor
    ) -> GroupScore | None:
        return GroupScore.of(self.score, weights, sums, self.plan.shape, selection, query) if self._scored else None


def _forward(
    group: GroupLaunches, query: Tensor, key: Tensor, value: Tensor, score: GroupScore | None, scale: float
) -> tuple[Tensor, LogSum]:
    """Return (out, lse) of a group: of queries (B, Hq, N, D), keys (B, Hkv, N, D) and values (B, Hkv, N, Dv).

    Of the shapes of out and lse only the order of their elements is settled: they may be folded, and rows in items.
    """
    if group.rows_at_once:
        [launch] = group.launches
        out, lse = _results(launch, query, key, value, score, scale)
        return (out, lse) if launch.heads == 1 else (launch.in_order(out), lse.map(launch.in_order))
    out, lse = _accumulators(group, query, value, remainder=score is not None)
    for launch in group.launches:
        own = launch.of_heads(out), lse.map(launch.of_heads)
        part_out, part_lse = _results(launch, query, key, value, score, scale)
        part = launch.by_head(part_out), part_lse.map(launch.by_head)
        (put if launch.tiles.first else merge)(launch.tiles.rows, *own, *part, dim=2)
    return out.to(query.dtype), lse


def _results(
    launch: TileLaunch, query: Tensor, key: Tensor, value: Tensor, score: GroupScore | None, scale: float
) -> tuple[Tensor, LogSum]:
    """Return (out, lse) of a launch's items, (X, T, heads * L, Dv) and (X, T, heads * L)."""
    tiles, mask = launch.tiles, launch.mask(query)
    sides = launch.rows(query), launch.keys(key), launch.keys(value)
    found = _kernel(launch, query.device, score).forward(*sides, _bias(mask), tiles.causal, scale)
    return _without_empty_rows(*found, mask)


def _accumulators(group: GroupLaunches, query: Tensor, value: Tensor, *, remainder: bool) -> tuple[Tensor, LogSum]:
    """Return room for the results of all rows, (X, G, N, Dv) and (X, G, N), of no key where some rows have none."""
    rows = group.selection.leading, group.selection.group_size, query.shape[2]
    dtype = accumulation_dtype(query.dtype) if group.merges else query.dtype
    room = torch.empty if group.covered else torch.zeros  # which the system has: they aren't written until rows are
    out = room(*rows, value.shape[-1], dtype=dtype, device=query.device)
    lse = LogSum.room(out, remainder=remainder)
    return out, lse if group.covered else LogSum.of_nothing(lse.value, remainder=remainder)


def _backward(
    group: GroupLaunches, saved: Saved, grad_out: Tensor, score: GroupScore | None, scale: float
) -> ItemGradients:
    """Return the gradients of a group's tensors, whose shapes are as `_forward` has them."""
    if group.keys_at_once:
        [launch] = group.launches
        d_query, d_key, d_value = _item_gradients(launch, saved, grad_out, score, scale)
        return launch.in_order(d_query), d_key, d_value
    query, key, value = group.selection.folded(saved.query), saved.key.flatten(0, 1), saved.value.flatten(0, 1)
    sums = _gradient_room(query, covered=group.covered), sums_like(key), sums_like(value)
    for launch in group.launches:
        rows, cols = launch.tiles.rows, launch.tiles.key_rows
        d_query, d_key, d_value = _item_gradients(launch, saved, grad_out, score, scale)
        (rows.put if launch.tiles.first else rows.add)(launch.of_heads(sums[0]), launch.by_head(d_query), 2)
        cols.add(sums[1], d_key)
        cols.add(sums[2], d_value)
    return sums


def _gradient_room(query: Tensor, *, covered: bool) -> Tensor:
    """Return room for the gradients of queries, zeros where no launch stores some of them."""
    if not covered:
        return sums_like(query)
    return torch.empty(query.shape, dtype=accumulation_dtype(query.dtype), device=query.device)


def _item_gradients(
    launch: TileLaunch, saved: Saved, grad_out: Tensor, score: GroupScore | None, scale: float
) -> ItemGradients:
    """Return the gradients of a launch's items."""
    tiles, mask = launch.tiles, launch.mask(saved.query)
    q, o, do = (_zero_where_empty(launch.rows(x), mask) for x in (saved.query, saved.out, grad_out))
    items = Saved(q, launch.keys(saved.key), launch.keys(saved.value), (), o, saved.lse.map(launch.rows))
    return _kernel(launch, saved.query.device, score).backward(items, do, _bias(mask), tiles.causal, scale)


def _kernel(launch: TileLaunch, device: torch.device, score: GroupScore | None) -> TileKernel:
    if score is None:
        return kernel_for(device)
    return kernel_for(device, score.on(launch.tiles, launch.first_head))


def _bias(mask: Additive | None) -> Tensor | None:
    return None if mask is None else mask.bias


def _room(query: Tensor, *, remainder: bool) -> tuple[Tensor, LogSum]:
    """Return room for (out, lse) of all heads."""
    return torch.empty_like(query, memory_format=torch.contiguous_format), LogSum.room(query, remainder=remainder)


def _cut(x: Tensor, like: Tensor) -> Tensor:
    """Return rows as long as another tensor's out of padded ones, contiguous."""
    size = like.shape[-1]
    return (x if x.shape[-1] == size else x[..., :size]).contiguous()


def _one_head_size(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad with zeros to one head size, as the flash op wants it: neither scores nor outputs change.

    A value that is a view of its key has the key's other columns in place of zeros, and isn't copied: outputs of these
    are cut off, and the gradients that meet them are 0.
    """
    size, of_values = query.shape[-1], value.shape[-1]
    if size == of_values and query.stride(-1) == key.stride(-1) == value.stride(-1) == 1:
        return query, key, value
    if is_view_of_key(value, key):
        value = key
    size = max(size, value.shape[-1])
    return _rows_of(query, size), _rows_of(key, size), _rows_of(value, size)


def _padded(saved: Saved, grad_out: Tensor, grad_lse: Tensor | None) -> tuple[Saved, Tensor]:
    """Return what the forward left and the gradient of out, with one head size and the gradient of lse in them."""
    grad_out, value, out = _with_lse_gradient(grad_out, grad_lse, saved.value, saved.out)
    query, key, value = _one_head_size(saved.query, saved.key, value)
    out, grad_out = _rows_of(out, value.shape[-1]), _rows_of(grad_out, value.shape[-1])
    # exp(score - inf) = 0 on rows without keys
    lse = saved.lse._replace(value=saved.lse.value.nan_to_num(math.nan, math.inf, math.inf))
    return Saved(query, key, value, saved.weights, out, lse), grad_out


def _rows_of(x: Tensor, size: int) -> Tensor:
    """Return x with rows of `size` contiguous elements; a pool that batch entries share is copied once."""
    if len(x) > 1 and x.stride(0) == 0:
        return _rows_of(x[:1], size).expand(len(x), -1, -1, -1)
    if x.shape[-1] < size:
        return pad(x, (0, size - x.shape[-1]))
    return x if x.stride(-1) == 1 else x.contiguous()


def _with_lse_gradient(
    grad_out: Tensor, grad_lse: Tensor | None, value: Tensor, out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what makes delta = rowsum(dO * O) less by grad_lse: another out, of which nothing else is made.

    Where that can't be, append a column that adds -grad_lse to delta and nothing to dO V^T, and pad value further.
    """
    if grad_lse is None:
        return grad_out, value, out
    if (shifted := _shifted(grad_out, grad_lse, out)) is not None:
        return grad_out, value, shifted
    ones = torch.ones_like(grad_out[..., :1])
    minus = -grad_lse.to(out.dtype).unsqueeze(-1)
    columns = VECTOR - value.shape[-1] % VECTOR
    return torch.cat([grad_out, ones], -1), pad(value, (0, columns)), torch.cat([out, minus], -1)


def _shifted(grad_out: Tensor, grad_lse: Tensor, out: Tensor) -> Tensor | None:
    """Return out - grad_lse * dO / |dO|^2, whose product with dO is delta - grad_lse.

    None where some row's dO is too small beside its grad_lse, for dtypes with few digits, and where it would be waited
    for to see.
    """
    if out.dtype not in (torch.float32, torch.float64) or out.device.type != "cpu":
        return None
    largest = torch.linalg.vector_norm(grad_out, math.inf, -1)
    if not bool((grad_lse.abs() <= largest * MOST_SHIFT).all()):
        return None
    unit = grad_out / largest.masked_fill(largest == 0, 1.0).unsqueeze(-1)
    share = grad_lse / (largest * unit.square().sum(-1)).masked_fill(largest == 0, 1.0)
    return torch.addcmul(out, unit, share.unsqueeze(-1), value=-1)


def _zero_where_empty(x: Tensor, mask: Additive | None) -> Tensor:
    """Return rows of queries, 0 where they see no key of the item, whose gradients 0 times a NaN there would reach."""
    return x if mask is None or mask.empty is None else x.masked_fill(mask.empty.unsqueeze(-1), 0.0)


def _without_empty_rows(out: Tensor, lse: LogSum, mask: Additive | None) -> tuple[Tensor, LogSum]:
    """Give rows of an item that see none of its keys out 0 and lse -inf, whatever the kernel left there."""
    if mask is None or mask.empty is None:
        return out, lse
    return out.masked_fill(mask.empty.unsqueeze(-1), 0.0), lse.masked(mask.empty)
