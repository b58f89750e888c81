"""Inputs: the sizes of query, key and value, where there are no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncc.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of an element by the short names of types.
ITEMSIZES = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}
_NAMES = {"torch.float64": "fp64", "torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}


@dataclass(frozen=True)
class Inputs:
    """Sizes of query (batch, heads, Nq, head_dim), key (batch, kv_heads, Nk, head_dim), value (..., Nk, value_dim).

    dtype: of all three, a name in ITEMSIZES. The lengths are the plan's. Raises ShapeError for sizes that can't be.
    """

    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    dtype: str

    def __post_init__(self) -> None:
        for name in ("batch", "heads", "kv_heads", "head_dim", "value_dim"):
            if getattr(self, name) < 1:
                raise ShapeError(f"{name}={getattr(self, name)}.", rule="Sizes are at least 1.")
        if self.heads % self.kv_heads:
            raise ShapeError(
                f"{self.heads} query heads on {self.kv_heads} key heads.",
                rule="The number of query heads is a multiple of the number of key heads.",
            )

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
