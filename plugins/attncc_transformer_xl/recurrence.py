"""Segment-level recurrence (Dai et al. 2019, section 3.2): keys and values of earlier positions, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import attncc
from attncc import ParameterError
from attncc.nn.functional.relative import RelativePosition, relative_attention


@dataclass(frozen=True)
class KeyValueMemory:
    """Keys (B, Hkv, m, D) and values (B, Hkv, m, Dv) of the last m positions."""

    key: Tensor
    value: Tensor

    def detached(self) -> KeyValueMemory:
        """Return the memory without its history, as the paper's SG: gradients end at the segment."""
        return KeyValueMemory(self.key.detach(), self.value.detach())

    def extended(self, key: Tensor, value: Tensor) -> KeyValueMemory:
        """Return the memory followed by new positions."""
        return KeyValueMemory(torch.cat([self.key, key], 2), torch.cat([self.value, value], 2))

    def last(self, size: int) -> KeyValueMemory:
        """Return the last `size` positions, or as many as there are."""
        first = max(0, self.key.shape[2] - size)
        return KeyValueMemory(self.key[:, :, first:], self.value[:, :, first:])


def step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: KeyValueMemory | None,
    relative: RelativePosition,
    *,
    size: int,
    pattern: attncc.Pattern | None = None,
) -> tuple[Tensor, KeyValueMemory]:
    """Attend from new positions to the memory and to themselves.

    Under the default pattern each query sees itself and the `size` positions before it, so that results don't depend
    on how a sequence is cut into steps. Under `causal`, as in the paper's training, a step is a segment, and all of its
    queries see all of the memory: that is `segment_memory` in one pass. Where steps shall not differentiate into those
    before them, as in the paper, pass `memory.detached()`.

    Args:
        query: (B, H, n, D).
        key: (B, Hkv, n, D).
        value: (B, Hkv, n, Dv).
        memory: What the last step returned; None at the beginning.
        relative: With size + 1 distances; for `causal` size + n.
        size: Positions to keep, M of the paper.
        pattern: In positions of the memory followed by the step.

    Returns:
        out (B, H, n, Dv), and the memory for the next step.

    Raises:
        ParameterError: `size` is negative.
        ShapeError, TableError: As relative_attention raises.
    """
    if size < 0:
        raise ParameterError(f"size={size}.", rule="It is a number of positions.", fix="Use 0 for no memory.")
    context = KeyValueMemory(key, value) if memory is None else memory.extended(key, value)
    chosen = attncc.load("segment_memory", segment=1, memory=size) if pattern is None else pattern
    out: Tensor = relative_attention(query, context.key, context.value, chosen, relative)
    return out, context.last(size)
