"""Weights: real tensors that a score looks up by position, such as slopes or a learned bias."""

from __future__ import annotations

from typing import Any

import sympy

from attncc._util.tracing import plain
from attncc.errors import PatternError, TableError
from attncc.frontend.language import index_of
from attncc.frontend.real import Real, chosen
from attncc.ir.cases import combinations
from attncc.ir.functions import Lookup, WeightsSymbol

#: Most dimensions of weights.
MAX_DIMENSIONS = 4


class Weights(Real):
    """The annotation of a score's parameter that is a floating-point tensor, and what the score's body sees of it.

    The body looks it up by one index expression for each dimension, as in `slopes[h]` or `table[h, buckets[i - j]]`.
    Weights without dimensions are a number, as in `score * temperature`. The values are read when attention runs, and
    get gradients. An entry of -inf masks pairs.

    Raises:
        PatternError: If it is made by hand.
    """

    def __init__(self, shape: tuple[int, ...], name: str = "weights", slot: int = 0) -> None:
        if not isinstance(shape, tuple):
            raise PatternError(
                f"attncc.Weights(...) was made of a {type(shape).__name__}.",
                rule="Weights are parameters of a score. If a body made them, they would keep one tensor for ever, "
                "without a gradient.",
                fix='Declare `*, weights: attncc.Weights`, and give the tensor at the call: weights={"weights": x}.',
            )
        self.shape = shape
        self.name = name
        self.slot = slot

    @property
    def expr(self) -> sympy.Expr:
        """The number that weights without dimensions are; raises PatternError for others."""
        return self[()].expr

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


def check_weights(tensor: Any, name: str) -> Any:
    """Return a tensor that can be weights; raises TableError for anything but a floating-point tensor with elements."""
    if not hasattr(tensor, "requires_grad") or not tensor.dtype.is_floating_point:
        kind = getattr(tensor, "dtype", type(tensor).__name__)
        raise TableError(
            f"Weights {name!r} are {kind}.",
            rule="Weights are a floating-point tensor; they are added to and multiplied with scores.",
            fix="Pass torch.tensor(..., dtype=torch.float32), or declare integers as attncc.Table.",
        )
    if tensor.numel() == 0 or tensor.ndim > MAX_DIMENSIONS:
        raise TableError(
            f"Weights {name!r} have shape {tuple(map(plain, tensor.shape))}.",
            rule=f"Weights have at most {MAX_DIMENSIONS} dimensions and at least one element.",
            fix="Pass a number, (), one entry per head, (H,), per head and bucket, (H, buckets), or (B, H, Nq, Nk).",
        )
    return tensor
