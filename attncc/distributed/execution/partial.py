"""Partial results: out and lse of rows over some of their keys, merged by log-sum-exp as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attncc.backends.base import accumulation_dtype
from attncc.distributed.execution.rows import Rows


class Partial:
    """Results of the rows of a store, (B, H, N, Dv), so far; in the accumulation dtype where several meet in a row."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, merges: bool) -> None:
        self._shape = tuple(shape)
        self._device = device
        self._lse_dtype = accumulation_dtype(dtype)
        self._dtype = self._lse_dtype if merges else dtype
        self._results: tuple[Tensor, Tensor] | None = None

    @property
    def out(self) -> Tensor:
        """(B, H, N, Dv); 0 where a row has seen no key."""
        return self._so_far()[0]

    @property
    def lse(self) -> Tensor:
        """(B, H, N); -inf where a row has seen no key."""
        return self._so_far()[1]

    def merge(self, rows: Rows, out: Tensor, lse: Tensor) -> None:
        """Add the results of `rows` over other keys; the tensors may be kept and written to."""
        if self._results is None and rows.are_all(self._shape[2]):
            self._results = out.to(self._dtype), lse
            return
        all_out, all_lse = self._so_far()
        old_out, old_lse = rows.take(all_out), rows.take(all_lse)
        # The weight of the new part, exp(lse) / (exp(old) + exp(lse)); of two rows without keys any will do.
        weight = torch.sigmoid((lse - old_lse).nan_to_num(nan=0.0)).unsqueeze(-1).to(self._dtype)
        rows.put(all_out, torch.lerp(old_out, out.to(self._dtype), weight))
        rows.put(all_lse, torch.logaddexp(old_lse, lse))

    def _so_far(self) -> tuple[Tensor, Tensor]:
        if self._results is None:
            self._results = (
                torch.zeros(self._shape, dtype=self._dtype, device=self._device),
                torch.full(self._shape[:3], -math.inf, dtype=self._lse_dtype, device=self._device),
            )
        return self._results
