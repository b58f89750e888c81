"""Blocks of models: attention and a feed-forward layer, each a branch beside what goes on."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from attncc.nn.feed_forward import FeedForward
from attncc.nn.stepwise import Stepwise


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and beside what it gets.

    Args:
        embed_dim: Size of a token's vector, E.
        attention: From (B, N, E) to (B, N, E), such as `Attention`, `SegmentRecurrent`, `CompressiveMemory` or
            `InfiniAttention`; with a `step` for what follows, the block has one, too.
        feed_forward: The same for single tokens; two affine maps by default.
    """

    def __init__(self, embed_dim: int, attention: nn.Module, feed_forward: nn.Module | None = None) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.attention, self.feed_forward = attention, feed_forward or FeedForward(embed_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the block's result on (B, N, E)."""
        return self._joined(hidden, self.attention(self.attention_norm(hidden)))

    def step(self, hidden: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Return the same for tokens that follow earlier ones, and the attention's state; see `Stepwise.step`."""
        attended, state = cast(Stepwise, self.attention).step(self.attention_norm(hidden), past)
        return self._joined(hidden, attended), state

    def _joined(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Return the block's result on (B, N, E), given the attention's."""
        hidden = hidden + attended
        found: Tensor = hidden + self.feed_forward(self.feed_forward_norm(hidden))
        return found
