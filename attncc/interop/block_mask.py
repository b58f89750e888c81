"""FlexAttention's BlockMask, out of a pattern and into one (PyTorch 2.13, torch/nn/attention/flex_attention.py)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, noop_mask

from attncc.errors import PatternError
from attncc.frontend.accepted import AnyPattern
from attncc.frontend.flex import from_mask_mod
from attncc.frontend.language import Index, Table
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.interop.block_lists import BlockTensors
from attncc.interop.exported import Exported, positive
from attncc.interop.mask_mod import mask_mod_of
from attncc.ir.condition import Condition
from attncc.ir.tables import Array
from attncc.planner.exact import exact_tiles
from attncc.planner.plan import Plan
from attncc.planner.tiles import EMPTY, FULL, PARTIAL


def to_block_mask(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    batch: int = 1,
    block_size: int | tuple[int, int] = 128,
    device: torch.device | str | None = None,
    dq_kv_order: bool | None = None,
) -> BlockMask:
    """Return FlexAttention's BlockMask of a pattern, with the blocks that `create_block_mask` would find.

    The blocks come from the pattern's expression, so that no N x N mask is made. B and H are 1 where the pattern
    doesn't depend on b or h. With more than 4,194,304 blocks, index tensors are views over the entries that are read,
    and `.contiguous()` or `.to(device)` would write them out: name the device here.

    Args:
        pattern: A plan, or a pattern at the lengths that follow.
        q_len: Number of queries; not with a plan, nor the next four.
        kv_len: Number of keys, by default q_offset + q_len.
        q_offset: Position of the first query; q_idx counts from 0.
        heads: Number of query heads.
        batch: Number of batch entries.
        block_size: Positions of a block, or (queries, keys).
        device: Where the tensors lie, by default where `create_block_mask` puts them.
        dq_kv_order: Adds the order in which blocks write dQ, as `compute_dq_write_order=True` does: True from the last
            key block to the first, False from the first.

    Raises:
        ExportError: For a block size that is none, or a pattern of pages.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, heads, batch)
    block_m, block_n = positive("block_size", block_size)
    where = torch.device(device or torch.accelerator.current_accelerator() or "cpu")
    shape = asked.shape
    tiles = asked.members(lambda predicate: exact_tiles(predicate, shape, block_m, block_n))
    kv, full_kv, q, full_q = (
        BlockTensors.of(tiles, where, full=full, by_key=by_key) for by_key in (False, True) for full in (False, True)
    )
    made = BlockMask(
        seq_lengths=(shape.q_len, shape.kv_len),
        kv_num_blocks=kv.count,
        kv_indices=kv.index,
        full_kv_num_blocks=full_kv.count,
        full_kv_indices=full_kv.index,
        q_num_blocks=q.count,
        q_indices=q.index,
        full_q_num_blocks=full_q.count,
        full_q_indices=full_q.index,
        BLOCK_SIZE=(block_m, block_n),
        mask_mod=mask_mod_of(asked.pattern.predicate, shape, where),
    )
    if dq_kv_order is not None:
        made.dq_write_order, made.dq_write_order_full = (one.write_order(dq_kv_order) for one in (q, full_q))
        made.dq_kv_order_spt = dq_kv_order
    return made


def from_block_mask(block_mask: BlockMask) -> Pattern:
    """Return the pattern of a BlockMask: that of its mask_mod, once its blocks are seen to say the same.

    A BlockMask without a mask_mod is the pattern of its blocks. The mask_mod is taken as `from_mask_mod` takes it.

    Args:
        block_mask: Of FlexAttention. Positions of queries count from 0.

    Raises:
        PatternError: Where a block is listed as full and the mask_mod masks a pair of it, or isn't listed and the
            mask_mod doesn't mask it; or where the mask_mod can't be a predicate.
    """
    q_len, kv_len = block_mask.seq_lengths
    block_m, block_n = block_mask.BLOCK_SIZE
    batch, heads = block_mask.kv_num_blocks.shape[:2]
    rows, cols = -(-q_len // block_m), -(-kv_len // block_n)
    listed = _classes(block_mask, rows, cols)
    if block_mask.mask_mod is noop_mask:
        return of_blocks(listed=listed != EMPTY, block_m=block_m, block_n=block_n)
    made = from_mask_mod(block_mask.mask_mod)
    asked = Exported.of(made, q_len, kv_len, 0, heads, batch)
    found = asked.members(lambda p: exact_tiles(p, asked.shape, block_m, block_n).classify())
    exact: Array = np.broadcast_to(np.array(found), listed.shape)
    ragged = np.zeros((rows, cols), bool)
    ragged[q_len // block_m :], ragged[:, kv_len // block_n :] = True, True
    wrong = ((listed == EMPTY) & (exact != EMPTY)) | ((listed == FULL) & (exact != FULL) & ~ragged)
    if wrong.any():
        b, h, m, n = (int(place[0]) for place in np.nonzero(wrong))
        said = {EMPTY: "not listed", FULL: "full"}[int(listed[b, h, m, n])]
        raise PatternError(
            f"Block ({m}, {n}) of batch entry {b}, head {h} is {said}, and by the mask_mod it is "
            f"{'full' if exact[b, h, m, n] == FULL else 'partial' if exact[b, h, m, n] == PARTIAL else 'empty'}.",
            rule="A BlockMask's blocks and its mask_mod say the same.",
            fix="Make it with create_block_mask, or take its mask_mod alone by attncc.from_mask_mod.",
        )
    return made


@pattern
def of_blocks(b: Index, h: Index, i: Index, j: Index, *, listed: Table, block_m: int, block_n: int) -> Condition:
    """Pairs of the blocks that are listed, bool (B, H, query blocks, key blocks)."""
    found: Condition = listed[i // block_m, j // block_n]
    return found


def _classes(block_mask: BlockMask, rows: int, cols: int) -> Array:
    """Return what a BlockMask says of each block, int8 (B, H, rows, cols) of EMPTY, PARTIAL and FULL."""
    batch, heads = block_mask.kv_num_blocks.shape[:2]
    found = np.zeros((batch, heads, rows, cols), np.int8)
    for count, index, label in (
        (block_mask.kv_num_blocks, block_mask.kv_indices, PARTIAL),
        (block_mask.full_kv_num_blocks, block_mask.full_kv_indices, FULL),
    ):
        if count is None or index is None:
            continue
        size = int(count.max()) if count.numel() else 0
        there = torch.arange(size, device=count.device) < count[..., None]
        b, h, row, place = there.nonzero(as_tuple=True)
        column = index[b, h, row, place]
        found[tuple(x.cpu().numpy() for x in (b, h, row, column.long()))] = label
    return found
