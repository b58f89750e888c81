"""Partial results: out and lse of rows over some of their keys, merged by log-sum-exp as they come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum
from attncc.distributed.execution.rows import Rows


class Partial:
    """Results of the rows of a store, (B, H, N, Dv), so far; in the accumulation dtype where several meet in a row.

    remainder: lse comes with what its rounding has left off, as under a score.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, merges: bool, remainder: bool
    ) -> None:
        self._shape = tuple(shape)
        self._device = device
        self._lse_dtype = accumulation_dtype(dtype)
        self._dtype = self._lse_dtype if merges else dtype
        self._remainder = remainder
        self._results: tuple[Tensor, LogSum] | None = None

    @property
    def out(self) -> Tensor:
        """(B, H, N, Dv); 0 where a row has seen no key."""
        return self._so_far()[0]

    @property
    def lse(self) -> LogSum:
        """(B, H, N); -inf where a row has seen no key."""
        return self._so_far()[1]

    def merge(self, rows: Rows, out: Tensor, lse: LogSum) -> None:
        """Add the results of `rows` over other keys; the tensors may be kept and written to."""
        lse = LogSum(lse.value, lse.rest) if self._remainder else lse
        if self._results is None and rows.are_all(self._shape[2]):
            self._results = out.to(self._dtype), lse
            return
        all_out, all_lse = self._so_far()
        share, merged = all_lse.map(rows.take).merged(lse)
        rows.put(all_out, torch.lerp(rows.take(all_out), out.to(self._dtype), share.unsqueeze(-1).to(self._dtype)))
        for whole, part in zip(all_lse.tensors, merged.tensors, strict=True):
            rows.put(whole, part)

    def _so_far(self) -> tuple[Tensor, LogSum]:
        if self._results is None:
            lse = torch.empty(self._shape[:3], dtype=self._lse_dtype, device=self._device)
            self._results = (
                torch.zeros(self._shape, dtype=self._dtype, device=self._device),
                LogSum.of_nothing(lse, remainder=self._remainder),
            )
        return self._results
