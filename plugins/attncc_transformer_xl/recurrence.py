"""Segment-level recurrence (Dai et al. 2019, section 3.2): keys and values of earlier positions, step by step."""

from __future__ import annotations

from torch import Tensor

import attncc
from attncc import ParameterError
from attncc.nn.functional.relative import RelativePosition, relative_attention
from attncc.nn.functional.state import KeyValues


def step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    memory: KeyValues | None,
    relative: RelativePosition,
    *,
    size: int,
    pattern: attncc.Pattern | None = None,
) -> tuple[Tensor, KeyValues]:
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
    own = KeyValues(key, value)
    context = own if memory is None else memory.and_then(own)
    chosen = attncc.load("segment_memory", segment=1, memory=size) if pattern is None else pattern
    out: Tensor = relative_attention(query, *context, chosen, relative)
    return out, context.last(size)
