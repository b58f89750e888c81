"""Feed-forward layers, whole or in chunks of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attncc.nn.recomputed import run_with, tensors_of
from attncc.nn.sizes import check_positive


class FeedForward(nn.Sequential):
    """Two affine maps with GELU between them, (B, N, E) to (B, N, E).

    Args:
        embed_dim: Size of a token's vector, E.
        hidden_dim: Channels between the maps; 4 E by default.

    Raises:
        ParameterError: For sizes below 1.
    """

    def __init__(self, embed_dim: int, hidden_dim: int | None = None) -> None:
        check_positive(embed_dim=embed_dim)
        hidden_dim = 4 * embed_dim if hidden_dim is None else hidden_dim
        check_positive(hidden_dim=hidden_dim)
        super().__init__(nn.Linear(embed_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim))


class ChunkedFeedForward(nn.Module):
    """A layer of single tokens, computed for some of them at a time (Kitaev et al. 2020, section 3).

    Results are those of the whole. What lies between its maps is kept for one chunk, and computed again in the backward
    pass, so that memory falls with the number of chunks.

    Args:
        layer: From (B, n, E) to (B, n, E), each token by itself.
        chunk: Tokens at a time.

    Raises:
        ParameterError: For a chunk below 1.
    """

    def __init__(self, layer: nn.Module, chunk: int) -> None:
        super().__init__()
        check_positive(chunk=chunk)
        self.layer, self.chunk = layer, chunk

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the layer's result on (B, N, E)."""
        again = torch.is_grad_enabled()
        parts = (self._one(part, again) for part in torch.split(hidden, self.chunk, 1))
        return torch.cat(list(parts), 1)

    def _one(self, part: Tensor, again: bool) -> Tensor:
        given = self.layer, tensors_of(self.layer), part
        found: Tensor = checkpoint(run_with, *given, use_reentrant=False) if again else self.layer(part)
        return found
