"""Attention sinks: a window, and the first positions for everybody (Xiao et al. 2023, StreamingLLM)."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern
def sinks(i: Index, j: Index, *, window: Positive = 256, sinks: Positive = 4) -> Condition:
    """The last `window` positions and the first `sinks` (Xiao et al. 2023, section 3)."""
    return (j <= i) & ((i - j < window) | (j < sinks))
