"""Tile kernels: attention of equal-shaped items, forward and backward, by torch's flash op or written out.

Items are (X, T, L, D) queries on (X, T, M, D) keys and (X, T, M, Dv) values; `bias` is additive, (1 or X, 1 or T,
L, M), and `causal` means that row r sees keys 0 .. r. lse is (X, T, L) in the accumulation dtype, with its remainder
under a score. On rows without any key the results of either kernel are meaningless and the caller replaces them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype, sums_like
from attncc.backends.base import Saved
from attncc.backends.logsum import LogSum, softmax_sums
from attncc.backends.scoring import ScoredBlock
from attncc.backends.torch.group_scores import PartScore

#: Of query, key and value.
ItemGradients = tuple[Tensor, Tensor, Tensor]

#: As torch binds it: through torch.ops it takes some microseconds more.
_flash_attention = torch._C._VariableFunctions._scaled_dot_product_flash_attention_for_cpu
#: Scores that are held at a time.
MAX_SCORES = 1 << 22
#: Scores of which only the greatest is wanted: they fit a core's cache.
FEW_SCORES = 1 << 18
#: The largest bias of a row up to which the flash op's lse, which has no remainder, is exact enough.
MOST_BIAS = 32.0
#: The least scale whose products float32 holds with all digits.
_LEAST = torch.finfo(torch.float32).tiny


class TileKernel(Protocol):
    """One way to compute items."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse) of the items."""
        ...

    def backward(
        self, saved: Saved, grad_out: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> ItemGradients:
        """Return the gradients; `out` and `lse` of `saved` are merged over all passes, weights are the score's own."""
        ...


class FlashCPU:
    """PyTorch's own blocked kernel for CPUs; key and value heads have one size.

    It multiplies the -inf of masked pairs with the scale, too, so that it gets one above 0, and the query its sign.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, LogSum]:
        """See TileKernel."""
        query, scale, _ = _with_sign(query, scale)
        if bias is None and (found := _of_one_key(query, key, value, scale)) is not None:
            return found
        out, lse = _flash_attention(query, key, value, 0.0, causal, attn_mask=bias, scale=scale)
        return out, LogSum(lse)

    def backward(
        self, saved: Saved, grad_out: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> ItemGradients:
        """See TileKernel."""
        query, scale, sign = _with_sign(saved.query, scale)
        known = query, saved.key, saved.value, saved.out, saved.lse.value
        result: ItemGradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_out, *known, 0.0, causal, attn_mask=bias, scale=scale
        )
        return result if sign == 1 else (result[0] * sign, *result[1:])


def _of_one_key(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, LogSum] | None:
    """Return (out, lse) of rows that all see the one key of their item: its weight is 1, and out a view of its value.

    None for other items, and for scores that aren't finite.
    """
    if key.shape[-2] > 1 or query.shape[-2] == 1:
        return None
    dtype = accumulation_dtype(query.dtype)
    scores = (query.to(dtype) @ key.to(dtype).mT).squeeze(-1) * scale
    if not bool(scores.isfinite().all()):
        return None
    return value.expand(*query.shape[:-1], value.shape[-1]), LogSum(scores)


class BiasedFlashCPU:
    """The flash op under a bias that doesn't depend on the score, evaluated for a block of pairs at a time.

    A block with rows whose bias is far from 0 at all keys, as under a mask of -1e9, is written out: their lse has a
    remainder, of which the op knows nothing.
    """

    def __init__(self, score: PartScore) -> None:
        self._score = score
        self._written = Written(score)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, LogSum]:
        """See TileKernel."""
        out, lse = _room(query, value, remainder=True)
        for block in _blocks(query, key, causal):
            added = self._bias(block, query, bias, causal)
            highest = added.amax(-1)
            if _is_far(highest):
                found = self._written.of_block(block, query, key, value, bias, causal, scale)
            else:
                q, k, v = block.of_rows(query), block.of_keys(key), block.of_keys(value)
                o, s = FlashCPU().forward(q, k, v, added, False, scale)
                empty = highest == -math.inf
                found = o.masked_fill(empty.unsqueeze(-1), 0.0), LogSum(s.value, s.rest).masked(empty)
            block.put(out, lse, *found)
        return out, lse

    def backward(
        self, saved: Saved, grad_out: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> ItemGradients:
        """See TileKernel."""
        query, key, value = saved.query, saved.key, saved.value
        sums = sums_like(query), sums_like(key), sums_like(value)
        for block in _blocks(query, key, causal):
            added = self._bias(block, query, bias, causal)
            if _is_far(added.amax(-1)):
                part = self._written.gradients_of_block(block, saved, grad_out, bias, causal, scale)
            else:
                part = FlashCPU().backward(block.of(saved), block.of_rows(grad_out), added, False, scale)
            block.add(sums, part)
        return sums

    def _bias(self, block: PairBlock, query: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        dtype = accumulation_dtype(query.dtype)
        added = self._score.bias(block.items, block.rows, block.keys, dtype, query.device)
        rows, keys = block.rows.stop - block.rows.start, block.keys.stop
        return block.masked(added.expand(*added.shape[:2], rows, keys), bias, causal)


class Written:
    """Matrix products and a softmax in the accumulation dtype, a block at a time: any device, and any score.

    The gradients of the score's weights are added to where the score keeps them.
    """

    def __init__(self, score: PartScore | None = None) -> None:
        self._score = score

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> tuple[Tensor, LogSum]:
        """See TileKernel."""
        out, lse = _room(query, value, remainder=self._score is not None)
        for block in _blocks(query, key, causal):
            block.put(out, lse, *self.of_block(block, query, key, value, bias, causal, scale))
        return out, lse

    def max_scores(self, query: Tensor, key: Tensor, bias: Tensor | None, causal: bool, scale: float) -> Tensor:
        """Return the greatest score of each row, (X, T, L) in the accumulation dtype; -inf without any key."""
        found = torch.full(query.shape[:-1], -math.inf, dtype=accumulation_dtype(query.dtype), device=query.device)
        for block in _blocks(query, key, causal, FEW_SCORES):
            if block.keys.stop:
                scores = block.masked(self._scores(block, query, key, scale)[0], bias, causal)
                block.of_rows(found).copy_(scores.amax(-1))
        return found

    def backward(
        self, saved: Saved, grad_out: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> ItemGradients:
        """See TileKernel."""
        sums = sums_like(saved.query), sums_like(saved.key), sums_like(saved.value)
        for block in _blocks(saved.query, saved.key, causal):
            block.add(sums, self.gradients_of_block(block, saved, grad_out, bias, causal, scale))
        return sums

    def of_block(
        self,
        block: PairBlock,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        causal: bool,
        scale: float,
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse) of a block of the items."""
        dtype = accumulation_dtype(query.dtype)
        scores = block.masked(self._scores(block, query, key, scale)[0], bias, causal)
        shifted, total, peak = softmax_sums(scores)
        out = (shifted @ block.of_keys(value).to(dtype)) / total.masked_fill(total == 0, 1.0).unsqueeze(-1)
        found = LogSum.of(peak, total)
        return out, found if self._score is not None else LogSum(found.value)

    def gradients_of_block(
        self, block: PairBlock, saved: Saved, grad_out: Tensor, bias: Tensor | None, causal: bool, scale: float
    ) -> ItemGradients:
        """Return the gradients of a block's rows and keys."""
        dtype = accumulation_dtype(saved.query.dtype)
        here = block.of(saved)
        query, key, value, out = (x.to(dtype) for x in (here.query, here.key, here.value, here.out))
        scores, scored = self._scores(block, saved.query, saved.key, scale)
        scores = block.masked(scores, bias, causal)
        p = here.lse.weights(scores)
        do = block.of_rows(grad_out).to(dtype)
        delta = (do * out).sum(-1, keepdim=True)
        ds = p * (do @ value.mT - delta)
        if scored is not None and self._score is not None:
            if self._score.sums:
                scored.add_by_weights(self._score.sums, ds, scores)
            ds = scored.by_score(ds, scores)
        ds = ds * scale
        return ds @ key, ds.mT @ query, p.mT @ do

    def _scores(self, block: PairBlock, query: Tensor, key: Tensor, scale: float) -> tuple[Tensor, ScoredBlock | None]:
        dtype = accumulation_dtype(query.dtype)
        scores = block.of_rows(query).to(dtype) @ block.of_keys(key).to(dtype).mT * scale
        if self._score is None:
            return scores, None
        scored = self._score.block(block.items, block.rows, block.keys, scores)
        return scored.value(), scored


def _room(query: Tensor, value: Tensor, *, remainder: bool) -> tuple[Tensor, LogSum]:
    """Return room for the results of items, (out, lse)."""
    return query.new_empty(*query.shape[:-1], value.shape[-1]), LogSum.room(query, remainder=remainder)


def _is_far(highest: Tensor) -> bool:
    """Return whether the largest bias of some row is finite and beyond MOST_BIAS."""
    return bool(((highest.abs() > MOST_BIAS) & highest.isfinite()).any())


def _with_sign(query: Tensor, scale: float) -> tuple[Tensor, float, int]:
    """Return a query and a scale above 0 with the same scores, and the sign that the scale had; 0 in float32 is 0."""
    if scale >= _LEAST:
        return query, scale, 1
    if scale <= -_LEAST:
        return -query, -scale, -1
    return torch.zeros_like(query), 1.0, 0


def kernel_for(device: torch.device, score: PartScore | None = None) -> TileKernel:
    """Return the fastest kernel for tensors on `device` under a score (None: as it is)."""
    if device.type != "cpu":
        return Written(score)
    if score is None:
        return _FLASH
    return BiasedFlashCPU(score) if score.is_bias and not score.sums else Written(score)


_FLASH = FlashCPU()


@dataclass(frozen=True)
class PairBlock:
    """Part of the pairs of items: a range of leading entries, of query rows, and of keys from 0."""

    items: slice
    rows: slice
    keys: slice

    def of_rows(self, x: Tensor) -> Tensor:
        """Return the block's part of x (X, T, L, ...), a view."""
        return x[self.items, :, self.rows]

    def of_keys(self, x: Tensor) -> Tensor:
        """Return the block's part of x (X, T, M, ...), a view."""
        return x[self.items, :, self.keys]

    def of(self, saved: Saved) -> Saved:
        """Return the block's part of what a forward left, views."""
        query, out, lse = self.of_rows(saved.query), self.of_rows(saved.out), saved.lse.map(self.of_rows)
        return Saved(query, self.of_keys(saved.key), self.of_keys(saved.value), saved.weights, out, lse)

    def put(self, out: Tensor, lse: LogSum, part_out: Tensor, part_lse: LogSum) -> None:
        """Write the results of the block."""
        for whole, part in zip((out, *lse.tensors), (part_out, *part_lse.tensors), strict=True):
            self.of_rows(whole).copy_(part)

    def add(self, sums: ItemGradients, parts: ItemGradients) -> None:
        """Add gradients of the block."""
        for place, part in zip(
            (self.of_rows(sums[0]), self.of_keys(sums[1]), self.of_keys(sums[2])), parts, strict=True
        ):
            place += part

    def masked(self, scores: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        """Return scores (X or 1, T or 1, rows, keys) with -inf where `bias` or `causal` masks a pair, whatever stood
        there."""
        if bias is not None:
            leading = self.items if len(bias) > 1 else slice(None)
            scores = scores.masked_fill(bias[leading, :, self.rows, self.keys] == -math.inf, -math.inf)
        if causal:
            row = torch.arange(self.rows.start, self.rows.stop, device=scores.device)
            future = torch.arange(self.keys.stop, device=scores.device) > row.unsqueeze(1)
            scores = scores.masked_fill(future, -math.inf)
        return scores


def _blocks(query: Tensor, key: Tensor, causal: bool, most: int = MAX_SCORES) -> Iterator[PairBlock]:
    """Yield blocks of at most `most` scores (or one row); rows that see no later key get none."""
    leading, items, length, keys = *query.shape[:3], key.shape[2]
    step = min(leading, max(1, most // max(1, items * length * keys)))
    rows = min(length, max(1, most // max(1, step * items * keys)))
    for first in range(0, leading, step):
        for row in range(0, length, rows):
            last = min(row + rows, length)
            seen = min(last, keys) if causal else keys
            yield PairBlock(slice(first, min(first + step, leading)), slice(row, last), slice(0, seen))
