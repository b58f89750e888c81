"""Inputs: the sizes of query, key and value, where there are no tensors."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncc.errors import ShapeError, check_known

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of an element by the short names of types.
ITEMSIZES = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}
_NAMES = {"torch.float64": "fp64", "torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}


@dataclass(frozen=True)
class Inputs:
    """Sizes of query (batch, heads, Nq, head_dim), key (batch, kv_heads, Nk, head_dim), value (..., Nk, value_dim).

    The lengths are the plan's. Raises ShapeError for sizes that can't be.

    Attributes:
        dtype: Of all three, a name in ITEMSIZES.
        scored: There is a score, so that lse has a remainder.
    """

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: str
    scored: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "heads", "kv_heads", "head_dim", "value_dim"):
            size = getattr(self, name)
            if type(size) is int and size >= 1:
                continue
            if not isinstance(size, numbers.Integral) or isinstance(size, bool) or size < 1:
                raise ShapeError(f"{name}={size!r}.", rule="Sizes are integers of at least 1.", fix="Give 1 or more.")
        if self.heads % self.kv_heads:
            raise ShapeError(
                f"{self.heads} query heads on {self.kv_heads} key heads.",
                rule="The number of query heads is a multiple of the number of key heads.",
                fix="Give fewer key heads, or repeat them.",
            )

    @classmethod
    def given(
        cls, batch: int, heads: int, kv_heads: int | None, head_dim: int, value_dim: int | None, dtype: str
    ) -> Inputs:
        """Return the sizes that somebody names: without kv_heads there are as many as heads, value_dim is head_dim."""
        check_known("dtype", dtype, ITEMSIZES, ShapeError)
        keys = heads if kv_heads is None else kv_heads
        return cls(batch, heads, keys, head_dim, head_dim if value_dim is None else value_dim, dtype)

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor) -> Inputs:
        """Return the sizes of tensors; a type that no backend computes in keeps torch's name."""
        dtype = _NAMES.get(str(query.dtype)) or str(query.dtype).removeprefix("torch.")
        batch, heads, _, head_dim = query.shape
        return cls(batch, heads, key.shape[1], head_dim, value.shape[3], dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return ITEMSIZES[self.dtype]

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.heads // self.kv_heads
