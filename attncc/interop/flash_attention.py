"""FlashAttention-4's block-sparse tensors.

Format: `BlockSparseTensorsTorch` in flash_attn/cute/block_sparsity.py of Dao-AILab/flash-attention at 0251105a.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attncc.frontend.accepted import AnyPattern
from attncc.interop.block_lists import BlockTensors
from attncc.interop.exported import Exported, positive
from attncc.planner.exact import exact_tiles
from attncc.planner.plan import Plan


@dataclass(frozen=True)
class BlockSparsity:
    """The fields of `BlockSparseTensorsTorch`, by their names.

    Attributes:
        mask_block_cnt: Blocks of a row that need the mask_mod, int32 (B, H, rows).
        mask_block_idx: Their columns, ascending, int32 (B, H, rows, most blocks of a row).
        full_block_cnt: Blocks of a row that need none, int32 (B, H, rows).
        full_block_idx: Their columns, as above.
        block_size: (queries, keys) of a block.
    """

    mask_block_cnt: Tensor
    mask_block_idx: Tensor
    full_block_cnt: Tensor
    full_block_idx: Tensor
    block_size: tuple[int, int]


def to_block_sparsity(
    pattern: Plan | AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    batch: int = 1,
    block_size: int | tuple[int, int] = 128,
    by_key: bool = False,
    device: torch.device | str = "cpu",
) -> BlockSparsity:
    """Return FlashAttention-4's tensors of a pattern. Dimensions B and H are 1 where it doesn't depend on b or h.

    Args:
        pattern: A plan, or a pattern at the lengths that follow.
        q_len: Number of queries; not with a plan, nor the next four.
        kv_len: Number of keys, by default q_offset + q_len.
        q_offset: Position of the first query.
        heads: Number of query heads.
        batch: Number of batch entries.
        block_size: Positions of a block, or (queries, keys): multiples of the kernel's tiles.
        by_key: Rows are blocks of keys and columns blocks of queries, as the backward reads them.
        device: Where the tensors lie.

    Raises:
        ExportError: For a block size that is none, or a pattern of pages.
    """
    asked = Exported.of(pattern, q_len, kv_len, q_offset, heads, batch)
    block_m, block_n = positive("block_size", block_size)
    tiles = asked.members(lambda predicate: exact_tiles(predicate, asked.shape, block_m, block_n))
    mask, full = (BlockTensors.of(tiles, torch.device(device), full=full, by_key=by_key) for full in (False, True))
    return BlockSparsity(mask.count, mask.compact, full.count, full.compact, (block_m, block_n))
