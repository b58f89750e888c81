"""Mixture of block attention with a list for each query: queries are sent to the blocks that they chose."""

from __future__ import annotations

import torch
from torch import Tensor

import attncc
from attncc import Condition, Index, ParameterError, ShapeError, Table

Part = tuple[Tensor, Tensor]


def routed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: Tensor,
    *,
    block: int = 64,
    scale: float | None = None,
    backend: str | None = None,
) -> Tensor:
    """Return attention under the pattern `moba` with `queries=1`, block by block (Lu et al. 2025, algorithm 1).

    A tile of neighbouring queries visits the blocks of all of them. Here each query has a copy for each block in its
    list, and the copies of a block lie side by side; what they give is merged. That takes the memory of all copies.

    Args:
        query: (B, H, N, D).
        key: (B, Hkv, N, D), where Hkv divides H.
        value: (B, Hkv, N, Dv).
        blocks: (B, H, N, K), as `attncc_selected.choosing.moba_blocks` makes them; what is listed twice, and
            blocks that aren't before the query's own, count as none.
        block: Positions of a block.
        scale: As `attncc.attention` takes it.
        backend: As `attncc.attention` takes it.

    Returns:
        (B, H, N, Dv), differentiable in query, key and value.

    Raises:
        ParameterError: For a `block` below 1.
        ShapeError: For lists of other entries, heads or queries.
    """
    if not isinstance(block, int) or block < 1:
        raise ParameterError(f"block={block!r}.", rule="A block has positions.", fix="Use 64.")
    if blocks.ndim != 4 or blocks.shape[:3] != query.shape[:3]:
        raise ShapeError(
            f"blocks is {tuple(blocks.shape)}, query {tuple(query.shape)}.",
            rule="There is a list for each query of each head: (B, H, N, K) for (B, H, N, D).",
            fix="Expand the lists that heads share: blocks.expand(-1, H, -1, -1).",
        )
    chosen = _earlier(blocks, block)
    listed, order = chosen.flatten(2).sort(-1)
    copies = _rows(query, order // chosen.shape[3])

    def attended(query: Tensor, pattern: attncc.Pattern) -> Part:
        out, lse = attncc.attention(
            query, key, value, pattern, scale=scale, enable_gqa=True, return_lse=True, backend=backend
        )
        return out, lse

    out, lse = attended(copies, _sent(blocks=listed, block=block))
    back = order.argsort(-1)
    outs = _rows(out, back).reshape(*chosen.shape, -1).unbind(3)
    parts = zip(outs, lse.gather(2, back).reshape(chosen.shape).unbind(3), strict=True)
    merged: Tensor = attncc.merge(attended(query, attncc.load("chunked", chunk=block)), *parts)[0]
    return merged


@attncc.pattern
def _sent(i: Index, j: Index, *, blocks: Table, block: int) -> Condition:
    """The keys of the block that a copy of a query was sent to."""
    seen: Condition = blocks[i] == j // block
    return seen


def _earlier(blocks: Tensor, block: int) -> Tensor:
    """Return lists whose entries are different, and before the query's own block; -1 for none."""
    own = torch.arange(blocks.shape[2], device=blocks.device)[:, None] // block
    found = blocks.masked_fill((blocks < 0) | (blocks >= own), -1).sort(-1).values
    found[..., 1:].masked_fill_(found[..., 1:] == found[..., :-1].clone(), -1)
    return found


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Return rows (B, H, M, D) of a tensor (B, H, N, D), by index (B, H, M); faster than `gather`, entry by entry."""
    first = torch.arange(0, x[..., 0].numel(), x.shape[2], device=x.device).reshape(*x.shape[:2], 1)
    return x.flatten(0, 2).index_select(0, (first + index).flatten()).reshape(*index.shape, x.shape[3])
