"""Logarithms of sums of exponentials, as two numbers where one would be rounded too far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype


class LogSum(NamedTuple):
    """log(sum(exp(scores))) of rows: `value`, and what its rounding has left off, `remainder`, both in one shape.

    A pair's weight is exp((score - value) - remainder). Of N scores of -1e9 the value is -1e9 in float32 and the
    remainder log(N), without which all weights would be N times too large; a value in float64 would do for these, but
    not for N scores of finfo.min. Scores that are plain products of rows have no remainder, None.
    """

    value: Tensor
    remainder: Tensor | None = None

    @classmethod
    def of(cls, peak: Tensor, total: Tensor) -> LogSum:
        """Return that of rows, given their largest score and the sum of exp(score - largest); 0 is a row of -inf."""
        log_total = torch.log(total)
        value = peak + log_total
        return cls(value, ((peak - value) + log_total).masked_fill(total == 0, 0.0))

    @classmethod
    def room(cls, query: Tensor, *, remainder: bool) -> LogSum:
        """Return uninitialised numbers for query rows (..., N, D), in the accumulation dtype."""
        value = torch.empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype), device=query.device)
        return cls(value, torch.empty_like(value) if remainder else None)

    @classmethod
    def of_nothing(cls, like: Tensor, *, remainder: bool) -> LogSum:
        """Return that of rows without any score, in the shape and dtype of a tensor."""
        return cls(torch.full_like(like, -math.inf), torch.zeros_like(like) if remainder else None)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The value, and the remainder if there is one."""
        return (self.value,) if self.remainder is None else (self.value, self.remainder)

    @property
    def rest(self) -> Tensor:
        """The remainder, 0 where none is kept."""
        return torch.zeros_like(self.value) if self.remainder is None else self.remainder

    def map(self, function: Callable[[Tensor], Tensor]) -> LogSum:
        """Return the same rows as a function takes them from each tensor."""
        value, remainder = self
        return LogSum(function(value), None if remainder is None else function(remainder))

    def weights(self, scores: Tensor) -> Tensor:
        """Return exp(score - this) of scores (..., rows, keys); rows without any score have weights of 0."""
        shifted = scores - self.value.masked_fill(self.value == -math.inf, math.inf).unsqueeze(-1)
        return torch.exp(shifted if self.remainder is None else shifted - self.remainder.unsqueeze(-1))

    def over(self, level: Tensor) -> Tensor:
        """Return exp(this - level), of a finite level."""
        shifted = self.value - level
        return torch.exp(shifted if self.remainder is None else shifted + self.remainder)

    def masked(self, rows: Tensor) -> LogSum:
        """Return the same, but of no score where `rows` is True."""
        remainder = None if self.remainder is None else self.remainder.masked_fill(rows, 0.0)
        return LogSum(self.value.masked_fill(rows, -math.inf), remainder)

    def merged(self, other: LogSum) -> tuple[Tensor, LogSum]:
        """Return the other's share of the two sums together, and these; of two rows without scores any share will do.

        The share is the sigmoid of their difference, which is 0 by definition where both are -inf.
        """
        difference = (other.value - self.value).nan_to_num(nan=0.0)
        if self.remainder is None and other.remainder is None:
            return torch.sigmoid(difference), LogSum(torch.logaddexp(self.value, other.value))
        peak = torch.maximum(self.value, other.value)
        level = peak.masked_fill(peak == -math.inf, 0.0)
        total = self.over(level) + other.over(level)
        return torch.sigmoid(difference + (other.rest - self.rest)), LogSum.of(peak, total)


def shares(sums: Sequence[LogSum]) -> tuple[list[Tensor], Tensor]:
    """Return the share of each of some sums in all of them together, and the logarithm of these, differentiable.

    Remainders are constants. Of rows without any score the shares are 0, the logarithm is -inf, and gradients are 0.
    """
    peak = reduce(torch.maximum, [each.value.detach() for each in sums])
    empty = peak == -math.inf
    level = peak.masked_fill(empty, 0.0)
    parts = [each.over(level) for each in sums]
    total = reduce(torch.add, parts).masked_fill(empty, 1.0)
    return [part / total for part in parts], (level + torch.log(total)).masked_fill(empty, -math.inf)


def softmax_sums(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(score - peak) of scores (..., rows, keys), their sums (..., rows), and the peaks, each row's largest.

    Results are divided by the sums, and not by exp of a rounded logarithm of them.
    """
    keys = scores.shape[-1]
    peak = scores.detach().amax(-1) if keys else scores.new_full(scores.shape[:-1], -math.inf)
    shifted = torch.exp(scores - peak.masked_fill(peak == -math.inf, 0.0).unsqueeze(-1))
    return shifted, shifted.sum(-1), peak
