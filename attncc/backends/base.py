"""What a backend is: it lowers a plan and a score to an executable, or says why it can't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from attncc.backends.choices import Value
from attncc.backends.inputs import Inputs
from attncc.backends.logsum import LogSum
from attncc.ir.score import ScoreExpression
from attncc.planner.plan import Plan
from attncc.targets import Target


class Gradients(NamedTuple):
    """Gradients of the inputs, each in its shape and dtype; `weights` is empty where they weren't asked for."""

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Sequence[Tensor] = ()


@dataclass(frozen=True, eq=False)
class Saved:
    """What a forward leaves for its backward: what it took and what it returned, in the shapes of Executable."""

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Sequence[Tensor]
    out: Tensor
    lse: LogSum


class Executable(Protocol):
    """A lowered plan: attention for tensors of the plan's shape, on any device that the backend takes.

    query (B, Hq, Nq, D), key (B, Hkv, Nk, D), value (B, Hkv, Nk, Dv); query head h uses key head h // (Hq / Hkv).
    lse is the natural-log sum of exponentials, (B, Hq, Nq), float32 (float64 for float64 inputs), with the remainder of
    its rounding where there is a score; a query without keys has out 0, lse -inf and zero gradients. `weights` are the
    score's, by slot, of any floating dtype. The score takes the place of scale * <q, k>; a pair whose score is -inf
    counts as not connected, and one with any finite score as connected.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse), out (B, Hq, Nq, Dv) in the query's dtype."""
        ...

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients of what a forward took; those of the weights only `with_weights`."""
        ...


class Backend(Protocol):
    """Lowers plans. Backends never import one another."""

    name: str
    #: (block_m, block_n) that plans for this backend are made with.
    tile: tuple[int, int]

    def unavailable(self) -> str | None:
        """Return why the backend can't run on this machine, or None."""
        ...

    def refuses(self, query: Tensor, value: Tensor) -> str | None:
        """Return why the backend can't take tensors of such dtype, device and head sizes, or None."""
        ...

    def lower(self, plan: Plan, score: ScoreExpression, config: Mapping[str, object]) -> Executable:
        """Return the executable; `score` is attncc.ir.score.IDENTITY where there is none.

        Raises ConfigError for an unknown key or bad value in `config`.
        """
        ...

    @property
    def choices(self) -> Mapping[str, str | None]:
        """What `config` leaves open: names, and the direction that each binds (None: both); empty for nothing."""
        ...

    def default(self, inputs: Inputs, target: Target) -> Mapping[str, Value]:
        """Return the value of each choice without any config; raises ConfigError for inputs that it can't take."""
        ...

    def check(self, config: Mapping[str, object]) -> None:
        """Raise ConfigError for an unknown key or bad value."""
        ...

    def predict(
        self, plan: Plan, inputs: Inputs, direction: str, config: Mapping[str, object], target: Target
    ) -> float:
        """Return the seconds that a direction is predicted to take on a target, without compiling or running.

        Only ratios matter to a ranking. `direction` is `forward` or `backward`, `config` as for `lower`. Raises as
        `lower` does, and BackendError or ConfigError for inputs or a target that the backend doesn't take.
        """
        ...


def sums_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return zeros to add up gradients of x in, where it is computed with in `dtype` (None: its own)."""
    return torch.zeros(x.shape, dtype=accumulation_dtype(dtype or x.dtype), device=x.device)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of sums over keys, and of lse: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
