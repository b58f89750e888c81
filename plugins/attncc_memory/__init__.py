"""Keys from a memory: Compressive Transformers, Memorizing Transformers and Infini-attention."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Lists, ParameterError

Positive = Annotated[int, Bounds(minimum=1)]
NotNegative = Annotated[int, Bounds(minimum=0)]


@attncc.pattern
def compressed_memory(
    i: Index,
    j: Index,
    *,
    segment: Positive = 256,
    memory: NotNegative = 256,
    compressed: Positive = 256,
    ratio: Positive = 4,
) -> Condition:
    """The last `compressed` of the keys that stand for `ratio` positions each, from before the query's memory.

    The memory holds the `memory` positions before the query's segment; key j stands for positions from j ratio
    (Rae et al. 2020, section 3.1).
    """
    for name, value, whole in (("ratio", ratio, segment), ("segment", segment, memory)):
        if whole % value:
            raise ParameterError(
                f"{name}={value} with segment={segment} and memory={memory}.",
                rule="The memory holds whole segments, and a segment is compressed as a whole.",
                fix="Use a ratio that divides the segment, and a memory that is a multiple of it.",
            )
    end = (i // segment * segment - memory) // ratio
    return (end - compressed <= j) & (j < end)


@attncc.pattern
def retrieved(i: Index, j: Index, *, memories: Lists) -> Condition:
    """The keys that are listed for each query: top-k memories (Wu et al. 2022, section 3.2).

    `memories` are (Nq, k), or (B, H, Nq, k) for each head; -1 stands for none.
    """
    return j.isin(memories[i])
