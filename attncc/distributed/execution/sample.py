"""Samples: the sizes of a call, without its data, so that what runs it can be found beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attncc.planner.directions import DIRECTIONS, FORWARD

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Shapes of query, key and value of a rank, their dtype and device, and the directions that are wanted."""

    query: Sizes
    key: Sizes
    value: Sizes
    dtype: torch.dtype
    device: torch.device
    directions: tuple[str, ...]

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor) -> Sample:
        """Return the sizes of some tensors."""
        with_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
        directions = DIRECTIONS if with_grad else (FORWARD,)
        return cls(tuple(query.shape), tuple(key.shape), tuple(value.shape), query.dtype, query.device, directions)

    def without_rows(self) -> list[Tensor]:
        """Return tensors that are alike, but for having no rows."""
        return [
            torch.empty(*shape[:2], 0, shape[3], dtype=self.dtype, device=self.device)
            for shape in (self.query, self.key, self.value)
        ]


def of_length(x: Tensor, rows: int) -> Tensor:
    """Return a tensor like x of so many rows, which takes no memory and mustn't be written to."""
    return x.new_empty(()).expand(*x.shape[:2], rows, *x.shape[3:])
