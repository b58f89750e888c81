"""Universal Transformers: one block in turn, as often as each position needs (Dehghani et al. 2018)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.sizes import check_positive, check_tokens


class Halted(NamedTuple):
    """What a stack that halts returns.

    Attributes:
        hidden: (B, N, E).
        ponder: Steps and remainder of each position, (B, N); its mean is the cost to add to a loss.
    """

    hidden: Tensor
    ponder: Tensor


class UniversalStack(nn.Module):
    """A block with shared weights in depth, with encodings of position and step (Dehghani et al. 2018, section 2).

    Args:
        embed_dim: Size of a token's vector, E; even.
        block: From (B, N, E) to (B, N, E).
        steps: How often it runs, at most.
        halts: Whether each position halts by itself (adaptive computation time, Graves 2016). Then `forward` returns
            `Halted`, and a position that has halted is carried on as it is.
        threshold: The sum of halting probabilities at which a position halts, below 1.

    Raises:
        ParameterError: For fewer than one step, an odd E, or a threshold out of (0, 1).
    """

    def __init__(
        self, embed_dim: int, block: nn.Module, steps: int, *, halts: bool = False, threshold: float = 0.99
    ) -> None:
        super().__init__()
        check_positive(steps=steps, embed_dim=embed_dim)
        if embed_dim % 2 or not 0 < threshold < 1:
            raise ParameterError(
                f"steps={steps}, embed_dim={embed_dim}, threshold={threshold}.",
                rule="embed_dim is even, and the threshold is between 0 and 1.",
                fix="Use steps=6, embed_dim=512, threshold=0.99, for example.",
            )
        self.embed_dim, self.block, self.steps, self.threshold = embed_dim, block, steps, threshold
        self.halting = nn.Linear(embed_dim, 1) if halts else None
        if self.halting is not None:
            nn.init.ones_(self.halting.bias)

    def forward(self, hidden: Tensor) -> Tensor | Halted:
        """Return the stack's result on (B, N, E); raises ShapeError for another shape."""
        check_tokens(hidden, self.embed_dim)
        places = position_encodings(hidden.shape[1], hidden.shape[2], hidden)
        if self.halting is None:
            for step in range(self.steps):
                hidden = self._stepped(hidden, places, step)
            return hidden
        return self._halted(hidden, places, self.halting)

    def _stepped(self, hidden: Tensor, places: Tensor, step: int) -> Tensor:
        found: Tensor = self.block(hidden + places + position_encodings(step + 1, hidden.shape[2], hidden)[-1])
        return found

    def _halted(self, hidden: Tensor, places: Tensor, halting: nn.Module) -> Halted:
        so_far = hidden.new_zeros(hidden.shape[:2])
        steps, remainder, result = torch.zeros_like(so_far), torch.zeros_like(so_far), torch.zeros_like(hidden)
        for step in range(self.steps):
            goes_on = so_far < self.threshold
            probability = torch.sigmoid(halting(hidden)).squeeze(-1)
            last = goes_on & ((so_far + probability >= self.threshold) | (step == self.steps - 1))
            weight = torch.where(last, 1 - so_far, probability) * goes_on
            remainder = torch.where(last, 1 - so_far, remainder)
            steps = steps + goes_on
            stepped = self._stepped(hidden, places, step)
            hidden = torch.where(goes_on.unsqueeze(-1), stepped, hidden)
            result = result + weight.unsqueeze(-1) * hidden
            so_far = torch.where(last, torch.ones_like(so_far), so_far + weight)
        return Halted(result, steps + remainder)


class SeparableTransition(nn.Module):
    """A convolution of neighbouring tokens, each channel by itself, and an affine map of channels: causal.

    Args:
        embed_dim: Size of a token's vector, E.
        width: Tokens that it sees, the own one last.
    """

    def __init__(self, embed_dim: int, width: int = 3) -> None:
        super().__init__()
        check_positive(embed_dim=embed_dim, width=width)
        self.embed_dim, self.width = embed_dim, width
        self.depthwise = nn.Conv1d(embed_dim, embed_dim, width, groups=embed_dim)
        self.pointwise = nn.Linear(embed_dim, embed_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the transition's result on (B, N, E); raises ShapeError for another shape."""
        check_tokens(hidden, self.embed_dim)
        padded = nn.functional.pad(hidden.transpose(1, 2), (self.width, 0))  # one more: no tokens have no convolution
        found: Tensor = self.pointwise(torch.relu(self.depthwise(padded)[:, :, 1:].transpose(1, 2)))
        return found


def position_encodings(length: int, size: int, like: Tensor) -> Tensor:
    """Return the encodings of positions 0 .. length - 1, (length, size), on a tensor's device and in its dtype."""
    place = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2, device=like.device, dtype=torch.float32) * (-math.log(10_000.0) / size))
    return torch.stack([torch.sin(place * rate), torch.cos(place * rate)], -1).flatten(1).to(like.dtype)
