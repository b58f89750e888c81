"""MagiAttention's slices: ranges of queries and keys, each with one of four masks.

Format: `flex_flash_attn_func` in magi_attention/functional/flex_flash_attn.py of SandAI-org/MagiAttention at 8e0fc64b,
types in magi_attention/common/enum.py at 1fc46110.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attncc.frontend.accepted import AnyPattern
from attncc.interop.exported import Exported, int32
from attncc.ir.tables import Array
from attncc.planner.exact import key_intervals
from attncc.planner.order import opens, order_by
from attncc.planner.plan import Plan
from attncc.planner.sweep import LineRuns

#: How much the first and the last key of a row move with each query, by type: full, causal, inverse causal, bi-causal.
MOVES = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclass(frozen=True)
class AttentionSlices:
    """Slices that share no pair. Entries of the batch follow one another along both axes.

    Attributes:
        q_ranges: First query and the one after the last, int32 (slices, 2).
        k_ranges: The same of keys.
        attn_type_map: 0 full; 1 causal, which ends in the last corner; 2 inverse causal, which begins in the first
            corner; 3 both; int32 (slices,).
    """

    q_ranges: Tensor
    k_ranges: Tensor
    attn_type_map: Tensor


def to_slices(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> AttentionSlices:
    """Return the slices of a pattern: as few as make up each interval of keys from one query to the next.

    See `to_block_sparsity` for the arguments.

    Raises:
        ExportError: For a pattern that differs by head, or of pages, or with more positions than 32 bits count.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, 1, batch)
    asked.one_for("MagiAttention", batch=False, heads=True)
    shape = asked.shape
    own = [_slices(runs) for runs in asked.in_order(lambda predicate: key_intervals(predicate, shape))]
    own = own * (shape.batch if len(own) == 1 else 1)
    entry = np.repeat(np.arange(len(own)), [len(one) for one in own])
    found = np.concatenate(own)
    q_ranges = int32("A query position", found[:, 0:2] + entry[:, None] * shape.q_len)
    k_ranges = int32("A key position", found[:, 2:4] + entry[:, None] * shape.kv_len)
    tensors = (torch.from_numpy(part).to(device) for part in (q_ranges, k_ranges, int32("A type", found[:, 4])))
    return AttentionSlices(*tensors)


def _slices(runs: LineRuns) -> Array:
    """Return (first query, after the last, first key, after the last, type) of each slice, int64 (slices, 5).

    A run may go on from one query to the next in one of four ways. Each joins the runs that go on longest with it.
    """
    chains = np.array([_chain_lengths(runs, *moves) for moves in MOVES])
    kind = chains.argmax(axis=0) if len(runs.line) else np.zeros(0, np.int64)
    found = []
    for number, (low, high) in enumerate(MOVES):
        own = runs.of(kind == number)
        order, begins = _chains(own, low, high)
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(order))[: len(first)] - 1
        line, start, stop = own.of(order)
        found.append(
            np.column_stack([line[first], line[last] + 1, start[first], stop[last], np.full_like(first, number)])
        )
    together = np.concatenate(found)
    return together[order_by(together[:, 0], together[:, 2])]


def _chains(runs: LineRuns, low: int, high: int) -> tuple[Array, Array]:
    """Return an order in which runs that go on with a move follow one another, and where a chain begins in it."""
    start, stop = runs.start - low * runs.line, runs.stop - high * runs.line
    order = order_by(start - start.min(initial=0), stop - stop.min(initial=0), runs.line)
    begins = opens(start[order], stop[order])
    begins[1:] |= np.diff(runs.line[order]) != 1
    return order, begins


def _chain_lengths(runs: LineRuns, low: int, high: int) -> Array:
    order, begins = _chains(runs, low, high)
    number = np.cumsum(begins) - 1
    found = np.zeros(len(order), np.int64)
    found[order] = np.bincount(number, minlength=1)[number]
    return found
