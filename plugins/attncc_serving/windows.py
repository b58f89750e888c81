"""Windows with attention sinks, and chunks."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, Sorted, Table
from attncc_serving import examples

Positive = Annotated[int, Bounds(minimum=1)]


@attncc.pattern
def sink_window(i: Index, j: Index, *, window: Positive = 1024, sinks: Positive = 4) -> Condition:
    """The last `window` positions, and the first `sinks` (Xiao et al. 2023, section 3.2)."""
    return (j <= i) & ((i - j < window) | (j < sinks))


@attncc.pattern(example=examples.documents)
def document_sinks(
    i: Index, j: Index, *, starts: Annotated[Table, Sorted()], window: Positive = 1024, sinks: Positive = 4
) -> Condition:
    """Windows and sinks inside of packed documents: the first `sinks` positions are those of each document.

    starts[i] is where the document of position i begins, (N,), or (B, N) for batch entries that differ.
    """
    seen: Condition = (starts[i] <= j) & (j <= i) & ((i - j < window) | (j < starts[i] + sinks))
    return seen


@attncc.pattern
def chunked(i: Index, j: Index, *, chunk: Positive = 8192) -> Condition:
    """Earlier keys of the query's own chunk of `chunk` positions (Llama 4; `attention_chunk_size` in Transformers)."""
    return (j <= i) & (i // chunk == j // chunk)
