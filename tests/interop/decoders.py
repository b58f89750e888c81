"""Dense masks rebuilt from what is exported, pair by pair, by the definitions of the formats."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, create_mask

from attncc.interop import (
    AttentionSlices,
    BlockSparseRows,
    BlockSparsity,
    ColumnBounds,
    IntervalEndpoints,
    PackedMask,
    VariableBlocks,
)
from attncc.ir.tables import Array

#: (batch, heads, q_len, kv_len).
Sizes = tuple[int, int, int, int]


def from_blocks(made: BlockMask | BlockSparsity, seen: Array, sizes: Sizes, *, by_key: bool = False) -> Array:
    """Full blocks see all pairs, partial ones what the mask_mod says, others none."""
    if isinstance(made, BlockMask):
        lists = [(made.kv_num_blocks, made.kv_indices), (made.full_kv_num_blocks, made.full_kv_indices)]
        if by_key:
            lists = [(made.q_num_blocks, made.q_indices), (made.full_q_num_blocks, made.full_q_indices)]
        (block_m, block_n) = made.BLOCK_SIZE
    else:
        lists = [(made.mask_block_cnt, made.mask_block_idx), (made.full_block_cnt, made.full_block_idx)]
        block_m, block_n = made.block_size
    found = np.zeros(sizes, bool)
    for is_full, (count, index) in enumerate(lists):
        for b, h in np.ndindex(*sizes[:2]):
            own = count[b % len(count), h % count.shape[1]], index[b % len(index), h % index.shape[1]]
            for row, number in enumerate(own[0].tolist()):
                for column in own[1][row, :number].tolist():
                    m, n = (column, row) if by_key else (row, column)
                    place = slice(m * block_m, (m + 1) * block_m), slice(n * block_n, (n + 1) * block_n)
                    found[b, h][place] = True if is_full else seen[b, h][place]
    return found


def mask_mod(made: BlockMask, sizes: Sizes) -> Array:
    """What the mask_mod says of all pairs."""
    return create_mask(made.mask_mod, *sizes, device="cpu").numpy()


def endpoints(made: IntervalEndpoints, sizes: Sizes) -> Array:
    """Keys of [0, F0), [F1, F2), ..."""
    ends = made.mask_func.numpy().reshape(made.mask_func.shape[0], -1, sizes[0], sizes[2])
    assert made.mask_func.shape[1] % 2 == 1
    assert (np.diff(ends, axis=1) >= 0).all()
    assert ((ends >= 0) & (ends <= sizes[3])).all()
    found = np.zeros(sizes, bool)
    for b, h, i in np.ndindex(*sizes[:3]):
        own = [0, *ends[h % len(ends), :, b, i]]
        for first, last in zip(own[::2], own[1::2], strict=True):
            found[b, h, i, first:last] = True
    return found


def slices(made: AttentionSlices, sizes: Sizes) -> Array:
    """Each slice's mask: no pair may be in two of them, and keys are those of the query's own entry."""
    count = np.zeros((sizes[0] * sizes[2], sizes[0] * sizes[3]), np.int64)
    for (q0, q1), (k0, k1), kind in zip(*(x.tolist() for x in vars(made).values()), strict=True):
        assert q0 < q1
        assert k0 < k1
        row, column = np.arange(q1 - q0)[:, None], np.arange(k1 - k0)
        causal = column - (k1 - k0) <= row - (q1 - q0)
        inverse = column >= row
        count[q0:q1, k0:k1] += [np.ones_like(causal), causal, inverse, causal & inverse][kind]
    assert count.max(initial=0) <= 1
    blocks = count.reshape(sizes[0], sizes[2], sizes[0], sizes[3]).astype(bool)
    assert sum(int(blocks[b, :, b].sum()) for b in range(sizes[0])) == blocks.sum()
    return np.broadcast_to(np.stack([blocks[b, :, b] for b in range(sizes[0])])[:, None], sizes)


def bounds(made: ColumnBounds, sizes: Sizes) -> Array:
    """All pairs but those that bounds mask."""
    numbers = made.startend_row_indices.numpy()
    assert numbers.shape[0] == sizes[0]
    assert numbers.shape[2] == sizes[3]
    assert ((numbers >= 0) & (numbers <= sizes[2])).all()
    found = np.ones(sizes, bool)
    for b, h, _, j in np.ndindex(sizes[0], sizes[1], 1, sizes[3]):
        own = numbers[b, h % numbers.shape[1], j]
        ranges = {1: [(own[0], None)], 2: [(own[0], own[-1])], 4: [tuple(own[:2]), tuple(own[2:])]}[len(own)]
        if made.causal:
            ranges.append((0, j))
        elif len(own) == 2:
            ranges = [(own[0], None), (0, own[1])]
        for first, last in ranges:
            found[b, h, first:last, j] = False
    return found


def block_rows(made: BlockSparseRows, sizes: Sizes) -> Array:
    """Pairs of the blocks, by the mask and by its bits."""
    found, packed = np.zeros((2, -(-made.M // made.R) * made.R, made.N), bool)
    for row in range(len(made.indptr) - 1):
        first, last = made.indptr[row : row + 2].tolist()
        queries = min(made.R, made.M - row * made.R)
        bits = np.ones(queries * (last - first) * made.C, bool)
        if made.packed_mask is not None and made.mask_indptr is not None:
            own = made.packed_mask[int(made.mask_indptr[row]) : int(made.mask_indptr[row + 1])].numpy()
            bits = np.unpackbits(own, bitorder="little")[: len(bits)].astype(bool)
        bits = bits.reshape(queries, last - first, made.C)
        for place, block in enumerate(range(first, last)):
            keys = slice(int(made.indices[block]) * made.C, (int(made.indices[block]) + 1) * made.C)
            rows = slice(row * made.R, row * made.R + queries)
            found[rows, keys] = True if made.mask is None else made.mask[block, :queries].numpy()
            packed[rows, keys] = bits[:, place]
    assert np.array_equal(found, packed)
    return np.broadcast_to(found[: sizes[2]], sizes)


def variable_blocks(made: VariableBlocks, sizes: Sizes) -> Array:
    """All pairs of the blocks of the map."""
    found = []
    for blocks, rows, columns in zip(*(x.numpy() for x in vars(made).values()), strict=True):
        assert rows.sum() == sizes[2]
        assert columns.sum() == sizes[3]
        found.append(np.repeat(np.repeat(blocks, rows, axis=0), columns, axis=1))
    return np.broadcast_to(np.stack(found), sizes)


def packed(made: PackedMask, sizes: Sizes) -> Array:
    """The bits of each entry."""
    number = sizes[2] * sizes[3]
    parts = [
        np.unpackbits(made.packed_mask[first:last].numpy(), bitorder="little")[:number].reshape(sizes[2:])
        for first, last in torch.stack([made.mask_indptr[:-1], made.mask_indptr[1:]], 1).tolist()
    ]
    return np.broadcast_to(np.stack(parts)[:, None].astype(bool), sizes)
