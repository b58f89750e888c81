"""Native sparse attention: three branches, each with a softmax of its own, joined by gates (Yuan et al. 2025)."""

from __future__ import annotations

from torch import Tensor

import attncc
from attncc_selected import compressed_blocks, selected_blocks


def native_sparse_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    compressed: tuple[Tensor, Tensor],
    gates: Tensor,
    blocks: Tensor,
    *,
    window: int = 512,
    block: int = 64,
    compression: tuple[int, int] = (32, 16),
    queries: int = 1,
    scale: float | None = None,
    backend: str | None = None,
) -> Tensor:
    """Return the gated sum of compressed, selected and window attention (Yuan et al. 2025, equation 5).

    Args:
        query: (B, H, N, D).
        key: (B, Hkv, N, D), where Hkv divides H.
        value: (B, Hkv, N, Dv).
        compressed: Compressed keys (B, Hkv, C, D) and values (B, Hkv, C, Dv), which the model learns to make.
        gates: (B, H, N, 3): of the compressed, selected and window branch.
        blocks: Lists (B, H, rows, K), as `attncc_selected.choosing.nsa_blocks` makes them.
        window: Positions of the window, the query's own included.
        block: Positions of a selected block.
        compression: (block, stride) of the compressed keys.
        queries: Neighbouring queries that share a list.
        scale: As `attncc.attention` takes it.
        backend: The backend of each branch; by default the device's.

    Returns:
        (B, H, N, Dv), differentiable in query, key, value, compressed and gates.
    """
    length, stride = compression
    recent = attncc.load("sliding_window", window=window)
    selected = selected_blocks(blocks=blocks, block=block, queries=queries)

    def branch(gate: int, key: Tensor, value: Tensor, pattern: attncc.Pattern) -> Tensor:
        out = attncc.attention(query, key, value, pattern, enable_gqa=True, scale=scale, backend=backend)
        assert isinstance(out, Tensor)
        return gates[..., gate, None] * out

    compressed_out = branch(0, *compressed, compressed_blocks(block=length, stride=stride))
    return compressed_out + branch(1, key, value, selected) + branch(2, key, value, recent)
