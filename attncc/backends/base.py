"""What a backend is: it lowers a plan to an executable, or says why it can't."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from attncc.planner.plan import Plan

Gradients = tuple[Tensor, Tensor, Tensor]


class Executable(Protocol):
    """A lowered plan: attention for tensors of the plan's shape, on any device that the backend takes.

    query (B, Hq, Nq, D), key (B, Hkv, Nk, D), value (B, Hkv, Nk, Dv); query head h uses key head h // (Hq / Hkv).
    lse is the natural-log sum of exponentials, (B, Hq, Nq), float32 (float64 for float64 inputs); a query
    without keys has out 0, lse -inf and zero gradients.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return (out, lse), out (B, Hq, Nq, Dv) in the query's dtype."""
        ...

    def backward(
        self,
        grad_out: Tensor,
        grad_lse: Tensor | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        lse: Tensor,
        scale: float,
    ) -> Gradients:
        """Return the gradients of query, key and value in their dtypes, given forward's results."""
        ...


class Backend(Protocol):
    """Lowers plans. Backends never import one another."""

    name: str
    #: (block_m, block_n) that plans for this backend are made with.
    tile: tuple[int, int]

    def unavailable(self) -> str | None:
        """Return why the backend can't run on this machine, or None."""
        ...

    def refuses(self, plan: Plan, query: Tensor, value: Tensor) -> str | None:
        """Return why the backend can't take this plan for tensors of such dtype, device and head sizes, or None."""
        ...

    def lower(self, plan: Plan, config: Mapping[str, object]) -> Executable:
        """Return the executable; raises ConfigError for an unknown key or bad value in `config`."""
        ...


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums over keys, and of lse: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
