"""Weights: real tensors that a score looks up by position, such as slopes or a learned bias."""

from __future__ import annotations

from typing import Any

from attncc.errors import PatternError, TableError
from attncc.ir.cases import combinations
from attncc.ir.functions import Lookup, WeightsSymbol
from attncc.ir.language import index_of
from attncc.ir.real import Real, chosen

#: Most dimensions of weights.
MAX_DIMENSIONS = 4


class Weights:
    """A floating-point tensor that a score looks up, as in `slopes[h]` or `table[h, buckets[i - j]]`.

    The tensor stays live: its values are read when attention runs, and it gets its gradient. There is one index
    expression a dimension, one to four of them; -inf entries mask pairs.

    Raises TableError for anything but a floating-point tensor with at least one element.
    """

    def __init__(self, tensor: Any, name: str = "weights", slot: int = 0) -> None:
        if not hasattr(tensor, "requires_grad") or not tensor.dtype.is_floating_point:
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise TableError(
                f"Weights {name!r} are {kind}.",
                rule="Weights are a floating-point tensor; they are added to and multiplied with scores.",
                fix="Pass torch.tensor(..., dtype=torch.float32), or declare integers as attncc.Table.",
            )
        if tensor.numel() == 0 or not 1 <= tensor.ndim <= MAX_DIMENSIONS:
            raise TableError(
                f"Weights {name!r} have shape {tuple(tensor.shape)}.",
                rule=f"Weights have one to {MAX_DIMENSIONS} dimensions and at least one element.",
                fix="Pass one entry per head, (H,), per head and bucket, (H, buckets), or (B, H, Nq, Nk).",
            )
        self.tensor: Any = tensor
        self.name = name
        self.slot = slot

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's sizes."""
        return tuple(map(int, self.tensor.shape))

    def __getitem__(self, key: object) -> Real:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) != len(self.shape):
            raise PatternError(
                f"Weights {self.name!r} of shape {self.shape} were looked up with {len(parts)} indices.",
                rule="There is one index a dimension.",
                fix="Name the head and the batch entry where there are dimensions for them: weights[b, h, i, j].",
            )
        symbol = WeightsSymbol(self.slot, self.shape, self.name)
        cases = combinations([index_of(part).cases for part in parts])
        return Real(chosen([(guard, Lookup(symbol, *indices)) for guard, indices in cases]))

    def __repr__(self) -> str:
        return f"Weights({self.name!r}, shape={self.shape})"
