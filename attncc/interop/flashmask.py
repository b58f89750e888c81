"""FlashMask's column bounds: of each key the first and last queries that are masked.

Format: `startend_row_indices` of `paddle.nn.functional.flashmask_attention`, docs of PaddlePaddle/docs at 1f391320,
checks in flashmask_attention_v3/interface.py of PaddlePaddle/flash-attention at 18057764 (Wang et al. 2024, FlashMask).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attncc.errors import ExportError
from attncc.frontend.accepted import AnyPattern
from attncc.interop.exported import Exported
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner.exact import key_intervals, transposed
from attncc.planner.order import opens, ranges
from attncc.planner.plan import Plan
from attncc.planner.shape import Shape
from attncc.planner.sweep import LineRuns


@dataclass(frozen=True)
class ColumnBounds:
    """Of each key the queries that are masked.

    Attributes:
        startend_row_indices: int32 (B, 1 or H, kv_len, bounds). If `causal`, queries from the first bound on are
            masked, up to the second one if there is one. Otherwise those from the first bound on and those before the
            second; or, with four bounds, those from the first to the second and from the third to the fourth.
        causal: What `flashmask_attention(causal=)` gets: queries before the key are masked, too.
    """

    startend_row_indices: Tensor
    causal: bool


def to_column_bounds(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> ColumnBounds:
    """Return the column bounds of a pattern, in the form with the fewest bounds, causal ones first.

    See `to_block_sparsity` for the arguments.

    Raises:
        ExportError: Where the queries that a key is masked for are more than two ranges; for a pattern of pages.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, heads, batch)
    shape = asked.shape
    masked = asked.members(lambda predicate: _masked(predicate, shape))
    forms: tuple[Form, ...] = (_two_ends, _two_ranges)
    if shape.q_len == shape.kv_len:  # elsewhere kernels differ in where the diagonal lies
        forms = (_causal_start, _causal_range, *forms)
    for form in forms:
        found = [[form(runs, shape) for runs in entry] for entry in masked]
        if not any(bounds is None for entry in found for bounds in entry):
            whole = np.array(found, np.int32)
            whole = np.broadcast_to(whole, (shape.batch, *whole.shape[1:])).copy()
            return ColumnBounds(torch.from_numpy(whole).to(device), form in (_causal_start, _causal_range))
    worst = max((runs for entry in masked for runs in entry), key=lambda runs: _counts(runs, shape).max())
    counts = _counts(worst, shape)
    raise ExportError(
        f"{asked.pattern!r} masks key {int(counts.argmax())} for {int(counts.max())} ranges of queries.",
        rule="FlashMask has two ranges of masked queries for a key.",
        fix="Use another format, as to_block_mask or to_interval_endpoints.",
    )


#: Bounds of each key, int64 (kv_len, bounds), of the masked ranges of queries; None where the form doesn't have them.
Form = Callable[[LineRuns, Shape], Array | None]


def _masked(predicate: Predicate, shape: Shape) -> LineRuns:
    """Return the ranges of queries that don't see each key."""
    seen = key_intervals(*transposed(predicate, shape))
    first = opens(seen.line)
    last = np.append(first[1:], True)[: len(first)]
    hidden = np.flatnonzero(_counts(seen, shape)[: shape.kv_len] == 0)
    before = np.where(first, 0, np.roll(seen.stop, 1))
    end = np.full(int(last.sum()), shape.q_len)
    return LineRuns.together(
        [
            LineRuns(hidden, np.zeros_like(hidden), np.full_like(hidden, shape.q_len)),
            LineRuns(seen.line, before, seen.start),
            LineRuns(seen.line[last], seen.stop[last], end),
        ]
    ).joined()


def _counts(runs: LineRuns, shape: Shape) -> Array:
    return np.bincount(runs.line, minlength=max(shape.kv_len, 1))


def _causal_range(runs: LineRuns, shape: Shape) -> Array | None:
    below = LineRuns(runs.line, np.maximum(runs.start, runs.line), runs.stop)
    before = LineRuns(runs.line, runs.start, np.minimum(runs.stop, runs.line))
    hidden = np.bincount(before.line, np.maximum(before.stop - before.start, 0), minlength=shape.kv_len)
    below = below.of(below.stop > below.start)
    if (hidden != np.arange(shape.kv_len)).any() or _counts(below, shape).max() > 1:
        return None
    found = np.full((shape.kv_len, 2), shape.q_len)
    found[below.line] = np.column_stack([below.start, below.stop])
    return found


def _causal_start(runs: LineRuns, shape: Shape) -> Array | None:
    found = _causal_range(runs, shape)
    return found[:, :1] if found is not None and (found[:, 1] == shape.q_len).all() else None


def _two_ranges(runs: LineRuns, shape: Shape) -> Array | None:
    counts = _counts(runs, shape)
    if counts.max() > 2:
        return None
    found = np.tile([shape.q_len, shape.q_len, 0, 0], (shape.kv_len, 1))
    upper = (ranges(0, counts[counts > 0]) == 0) & ((runs.start == 0) | (counts[runs.line] == 2))
    for chosen, place in ((~upper, 0), (upper, 2)):
        own = runs.of(chosen)
        found[own.line, place], found[own.line, place + 1] = own.start, own.stop
    return found


def _two_ends(runs: LineRuns, shape: Shape) -> Array | None:
    found = _two_ranges(runs, shape)
    if found is None or (found[:, 1] != shape.q_len).any() or found[:, 2].any():
        return None
    return found[:, [0, 3]]
