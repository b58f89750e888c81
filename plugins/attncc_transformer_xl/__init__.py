"""The patterns of "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context" (Dai et al. 2019)."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index


@attncc.pattern
def segment_memory(
    i: Index,
    j: Index,
    *,
    segment: Annotated[int, Bounds(minimum=1)] = 256,
    memory: Annotated[int, Bounds(minimum=0)] = 256,
) -> Condition:
    """The query's segment up to itself, and `memory` positions before the segment (Dai et al. 2019, section 3.2).

    A segment of 1 is a window: each query sees itself and the `memory` positions before it, however it is cut.
    """
    return (i // segment * segment - memory <= j) & (j <= i)
