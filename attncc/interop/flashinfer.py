"""FlashInfer's block-sparse rows, variable blocks and packed masks.

Format: `BlockSparseAttentionWrapper.plan` and `VariableBlockSparseAttentionWrapper.plan` in flashinfer/sparse.py of
flashinfer-ai/flashinfer at 0090a5f8; `packed_custom_mask` in flashinfer/prefill.py.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attncc.errors import ExportError
from attncc.frontend.accepted import AnyPattern
from attncc.interop.exported import Exported, int32, positive
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner.bisect import CHUNK, TileGrid
from attncc.planner.exact import exact_tiles, key_intervals, transposed
from attncc.planner.layout import dense_layout
from attncc.planner.plan import Plan
from attncc.planner.shape import Shape
from attncc.planner.sweep import LineRuns

#: Blocks of a map of variable blocks, beyond which it is refused.
MOST_BLOCKS = 1 << 28


@dataclass(frozen=True)
class BlockSparseRows:
    """A block-sparse matrix (BSR) with the pairs of each block, as `BlockSparseAttentionWrapper.plan` takes it.

    Attributes:
        indptr: Where each row of blocks begins in `indices`, int32 (row blocks + 1,).
        indices: Key blocks of the rows, ascending, int32 (blocks,).
        mask: Pairs of each block, bool (blocks, R, C); None where all blocks are full. Rows beyond M are False.
        packed_mask: The same as FlashInfer packs it, uint8: of each row of blocks the pairs (queries, blocks * C), from
            the lowest bit on, up to a whole byte; None where all blocks are full.
        mask_indptr: Where each row of blocks begins in `packed_mask`, in bytes, int32 (row blocks + 1,), or None.
        M: Number of queries.
        N: Number of keys.
        R: Queries of a block.
        C: Keys of a block.
    """

    indptr: Tensor
    indices: Tensor
    mask: Tensor | None
    packed_mask: Tensor | None
    mask_indptr: Tensor | None
    M: int
    N: int
    R: int
    C: int


@dataclass(frozen=True)
class VariableBlocks:
    """Blocks of several sizes that are all full or empty, as `VariableBlockSparseAttentionWrapper.plan` takes them.

    Attributes:
        block_mask_map: Which blocks are full, bool (heads, row blocks, column blocks).
        block_row_sz: Queries of each row of blocks, int32 (heads, row blocks).
        block_col_sz: Keys of each column of blocks, int32 (heads, column blocks).
    """

    block_mask_map: Tensor
    block_row_sz: Tensor
    block_col_sz: Tensor


@dataclass(frozen=True)
class PackedMask:
    """The pairs of each batch entry, as prefill takes them for `packed_custom_mask`.

    Attributes:
        packed_mask: Of each entry q_len * kv_len bits, query by query, from the lowest bit on, up to a whole byte;
            uint8.
        mask_indptr: Where each entry begins, in bytes, int32 (batch + 1,).
    """

    packed_mask: Tensor
    mask_indptr: Tensor


def to_block_sparse_rows(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    block_size: int | tuple[int, int] = 64,
    device: torch.device | str = "cpu",
) -> BlockSparseRows:
    """Return the block-sparse rows of a pattern. See `to_block_sparsity` for the arguments.

    Raises:
        ExportError: For a pattern that differs by batch entry or head, or of pages; for a number of keys that isn't a
            multiple of a block's.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, 1, 1)
    asked.one_for("BlockSparseAttentionWrapper", batch=True, heads=True)
    shape, (r, c) = asked.shape, positive("block_size", block_size)
    if shape.kv_len % c:
        raise ExportError(
            f"kv_len={shape.kv_len} in blocks of {c} keys.",
            rule="FlashInfer's blocks of keys are whole.",
            fix=f"Use a block size that divides kv_len, or pad keys to {-(-shape.kv_len // c) * c} and mask the rest.",
        )
    ((_, predicate),) = asked.groups
    tiles = exact_tiles(predicate, shape, r, c)
    corners = tiles.in_runs(slice(None))
    indptr = np.append(0, np.cumsum(np.bincount(corners[:, 0], minlength=tiles.num_query_tiles)))
    mask, is_full = _pairs(predicate, shape, corners, r, c)
    begins, columns = (torch.from_numpy(int32("A block", part)).to(device) for part in (indptr, corners[:, 1]))
    bits = (None, None, None) if is_full else (mask, *_packed_rows(mask, indptr, shape, r, c))
    pairs, packed, packed_begins = (None if part is None else torch.from_numpy(part).to(device) for part in bits)
    return BlockSparseRows(begins, columns, pairs, packed, packed_begins, shape.q_len, shape.kv_len, r, c)


def to_variable_blocks(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    device: torch.device | str = "cpu",
) -> VariableBlocks:
    """Return blocks that end wherever the pattern changes, so that each is full or empty.

    Fit for patterns of blocks and documents. A causal pattern has as many blocks as pairs. `heads` are those of the
    keys. See `to_block_sparsity` for the other arguments.

    Raises:
        ExportError: For a pattern that differs by batch entry, or of pages; for more than 2^28 blocks.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, heads, 1)
    asked.one_for("VariableBlockSparseAttentionWrapper", batch=True, heads=False)
    shape = asked.shape
    seen = list(asked.in_order(lambda predicate: key_intervals(predicate, shape)))
    by_key = asked.in_order(lambda predicate: key_intervals(*transposed(predicate, shape)))
    columns, rows = _edges(seen, shape.kv_len), _edges(list(by_key), shape.q_len)
    number = len(seen) * len(rows) * len(columns)
    if number > MOST_BLOCKS:
        raise ExportError(
            f"{asked.pattern!r} changes at {len(rows):,} queries and {len(columns):,} keys.",
            rule=f"A map of variable blocks has at most {MOST_BLOCKS:,} of them here.",
            fix="Use to_block_sparse_rows, which has a mask for each block.",
        )
    found = np.zeros((len(seen), max(len(rows) - 1, 0), max(len(columns) - 1, 0)), bool)
    for number, runs in enumerate(seen):
        place = np.searchsorted(rows, runs.line)
        own = runs.of(rows[np.minimum(place, len(rows) - 1)] == runs.line)
        steps = np.zeros((found.shape[1], len(columns)), np.int8)
        line = np.searchsorted(rows, own.line)
        np.add.at(steps, (line, np.searchsorted(columns, own.start)), 1)
        np.add.at(steps, (line, np.searchsorted(columns, own.stop)), -1)
        found[number] = np.cumsum(steps, axis=1)[:, :-1] > 0
    sizes = (np.tile(np.diff(edges).astype(np.int32), (asked.shape.heads, 1)) for edges in (rows, columns))
    whole = np.broadcast_to(found, (asked.shape.heads, *found.shape[1:])).copy()
    return VariableBlocks(*(torch.from_numpy(part).to(device) for part in (whole, *sizes)))


def to_packed_mask(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> PackedMask:
    """Return a bit for each pair, for prefill with any mask. See `to_block_sparsity` for the arguments.

    Raises:
        ExportError: For a pattern that differs by head, or of pages, or with more bytes than 32 bits count.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, 1, batch)
    asked.one_for("Prefill", batch=False, heads=True)
    shape = asked.shape
    own = list(asked.in_order(lambda predicate: _bits(key_intervals(predicate, shape), shape)))
    own = own * (shape.batch if len(own) == 1 else 1)
    indptr = int32("The mask's bytes", np.append(0, np.cumsum([len(part) for part in own])))
    return PackedMask(*(torch.from_numpy(part).to(device) for part in (np.concatenate(own), indptr)))


def _bits(runs: LineRuns, shape: Shape) -> Array:
    steps = np.zeros(shape.q_len * shape.kv_len + 1, np.int8)
    np.add.at(steps, runs.line * shape.kv_len + runs.start, 1)
    np.add.at(steps, runs.line * shape.kv_len + runs.stop, -1)
    return np.packbits(np.cumsum(steps[:-1], dtype=np.int8).astype(bool), bitorder="little")


def _pairs(predicate: Predicate, shape: Shape, corners: Array, r: int, c: int) -> tuple[Array, bool]:
    """Return the pairs of blocks, bool (blocks, R, C), and whether these are all that there are."""
    grid = TileGrid(dense_layout(predicate, shape), shape.q_offset, r, c)
    found, is_full = np.zeros((len(corners), r, c), bool), True
    for first in range(0, len(corners), CHUNK):
        part = slice(first, first + CHUNK)
        holds, exists = grid.elements(corners[part])
        found[part] = holds & exists
        is_full = is_full and bool(np.all(holds | ~exists))
    return found, is_full


def _packed_rows(mask: Array, indptr: Array, shape: Shape, r: int, c: int) -> tuple[Array, Array]:
    """Return the pairs of each row of blocks, query by query, as bits, and where each begins, in bytes."""
    parts = [np.empty(0, np.uint8)]
    for row, (first, last) in enumerate(itertools.pairwise(indptr)):
        queries = min(r, shape.q_len - row * r)
        parts.append(np.packbits(mask[first:last, :queries].transpose(1, 0, 2).reshape(-1), bitorder="little"))
    return np.concatenate(parts), int32("The mask's bytes", np.cumsum([len(part) for part in parts]))


def _edges(several: list[LineRuns], length: int) -> Array:
    """Return the positions at which runs begin or end, with 0 and the length."""
    ends = [end for runs in several for end in (runs.start, runs.stop)]
    return np.unique(np.concatenate([[0, length], *ends]))
