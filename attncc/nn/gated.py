"""Gated blocks, which begin as the identity (GTrXL: Parisotto et al. 2019, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attncc.nn.block import Block
from attncc.nn.sizes import check_positive


class GruGate(nn.Module):
    """A gate between what goes on and what a branch adds (Parisotto et al. 2019, section 3.2, GRU-type gating).

    Args:
        embed_dim: Size of a token's vector, E.
        bias: How strongly the gate keeps what goes on at the beginning; 2 in the paper.
    """

    def __init__(self, embed_dim: int, bias: float = 2.0) -> None:
        super().__init__()
        check_positive(embed_dim=embed_dim)
        self.of_branch = nn.Linear(embed_dim, 3 * embed_dim, bias=False)
        self.of_stream = nn.Linear(embed_dim, 2 * embed_dim, bias=False)
        self.of_reset = nn.Linear(embed_dim, embed_dim, bias=False)
        self.bias = nn.Parameter(torch.full((embed_dim,), float(bias)))

    def forward(self, stream: Tensor, branch: Tensor) -> Tensor:
        """Return (1 - z) stream + z candidate, all (B, N, E)."""
        reset_y, update_y, candidate_y = self.of_branch(branch).chunk(3, -1)
        reset_x, update_x = self.of_stream(stream).chunk(2, -1)
        update = torch.sigmoid(update_y + update_x - self.bias)
        candidate = torch.tanh(candidate_y + self.of_reset(torch.sigmoid(reset_y + reset_x) * stream))
        return (1 - update) * stream + update * candidate


class GatedBlock(Block):
    """Attention and a feed-forward layer, each behind a layer norm, and joined to what goes on by a gate.

    The norm is on the branch alone, so that the stream passes through untouched at the beginning.

    Args:
        embed_dim: Size of a token's vector, E.
        attention: See Block.
        feed_forward: See Block.
        bias: See GruGate.
    """

    def __init__(
        self, embed_dim: int, attention: nn.Module, feed_forward: nn.Module | None = None, *, bias: float = 2.0
    ) -> None:
        super().__init__(embed_dim, attention, feed_forward)
        self.attention_gate, self.feed_forward_gate = GruGate(embed_dim, bias), GruGate(embed_dim, bias)

    def _joined(self, hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = self.attention_gate(hidden, torch.relu(attended))
        found: Tensor = self.feed_forward_gate(hidden, torch.relu(self.feed_forward(self.feed_forward_norm(hidden))))
        return found
