"""cuDNN frontend's interval endpoints.

Format: `mask_func` of `cudnn.create_mask_plan`, docs/fe-oss-apis/attention/flex_attention.md of NVIDIA/cudnn-frontend
at 0b648e4e (experimental there).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attncc.frontend.accepted import AnyPattern
from attncc.interop.exported import Exported
from attncc.ir.tables import Array
from attncc.planner.exact import key_intervals
from attncc.planner.order import opens, ranges
from attncc.planner.plan import Plan
from attncc.planner.sweep import LineRuns


@dataclass(frozen=True)
class IntervalEndpoints:
    """Of each query the ends of its intervals of keys: [0, F0), [F1, F2), [F3, F4), ...

    Attributes:
        mask_func: int32 (1 or heads, ends, batch * q_len), an odd number of ends, nondecreasing along it.
    """

    mask_func: Tensor


def to_interval_endpoints(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> IntervalEndpoints:
    """Return the endpoints of a pattern, for `cudnn.create_mask_plan(mask_func, q, k, v)` of fixed lengths.

    There are as many ends as the query with the most intervals needs. See `to_block_sparsity` for the arguments.

    Raises:
        ExportError: For a pattern of pages.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, heads, batch)
    rows = asked.shape.q_len
    found: Array = np.array(
        _of_equal_width(asked.members(lambda predicate: _ends(key_intervals(predicate, asked.shape), rows)))
    )
    _, kinds, width, _ = found.shape
    found = np.broadcast_to(found, (asked.shape.batch, kinds, width, rows)).transpose(1, 2, 0, 3)
    flat = np.ascontiguousarray(found.reshape(kinds, width, -1), np.int32)
    return IntervalEndpoints(torch.from_numpy(flat).to(device))


def _ends(intervals: LineRuns, rows: int) -> Array:
    """Return the ends of each row's intervals, (ends, rows); the last one of a row is repeated."""
    first = opens(intervals.line) & (intervals.start == 0)
    count = np.bincount(intervals.line, minlength=rows)
    begins = np.zeros(rows, bool)
    begins[intervals.line[first]] = True
    width = int((2 * count + 1 - 2 * begins).max(initial=1))
    found = np.zeros((width, rows), np.int64)
    place = 2 * (ranges(0, count) - begins[intervals.line]) + 2
    found[place, intervals.line] = intervals.stop
    inner = place > 0
    found[place[inner] - 1, intervals.line[inner]] = intervals.start[inner]
    return np.maximum.accumulate(found, axis=0)


def _of_equal_width(members: list[list[Array]]) -> list[list[Array]]:
    width = max(len(one) for entry in members for one in entry)
    return [[np.pad(one, ((0, width - len(one)), (0, 0)), mode="edge") for one in entry] for entry in members]
