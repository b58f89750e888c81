"""Infini-attention (Munkhdalai et al. 2024): attention in segments, and a matrix of what came before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attncc.nn.functional import infini
from attncc.nn.functional.infini import InfiniState
from attncc.nn.heads import HeadProjections
from attncc.nn.sizes import check_positive


class InfiniAttention(HeadProjections):
    """The gated sum of attention in the own segment and of what a matrix of each head remembers (section 2.1).

    A whole sequence is computed at once, without a state; `step` goes along it, with the same numbers and gradients.

    Args:
        embed_dim: Size of a token's vector, E.
        num_heads: Heads, H, of E / H each.
        segment: Tokens of a segment, after which the matrix grows.
        delta: Whether the matrix stores what it doesn't give for a key already (equation 5), or all values.
        rotary: Whether queries and keys carry rotary positions in the segment. The matrix has none.
        bias: Whether projections have biases.

    Raises:
        ParameterError: For heads that don't divide E, or a segment below 1.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        segment: int = 256,
        delta: bool = True,
        rotary: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(embed_dim, num_heads, bias=bias)
        check_positive(segment=segment)
        self._sizes: dict[str, Any] = {"segment": segment, "delta": delta, "rotary": rotary}
        self._local = infini.local_pattern(segment)
        self.gate = nn.Parameter(torch.zeros(num_heads))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what each token of (B, N, E) finds in its segment and in the memory, (B, N, E)."""
        self._check(hidden)
        query, (key, value) = self.queries(hidden), self.keys_and_values(hidden)
        return self.projected(infini.infini_attention(query, key, value, self.gate, local=self._local, **self._sizes))

    def step(self, hidden: Tensor, past: InfiniState | None = None) -> tuple[Tensor, InfiniState]:
        """Return the same for tokens that follow earlier ones, and the state for the next step.

        Args:
            hidden: (B, N, E), of any N.
            past: What the step before returned; None at the beginning. Where gradients shall end, `past.detached()`.

        Raises:
            ShapeError: For tokens of another size, or a past of another batch.
        """
        self._check(hidden, past.key if past else None)
        query, (key, value) = self.queries(hidden), self.keys_and_values(hidden)
        state = InfiniState.empty(key, value) if past is None else past
        out, state = infini.step(query, key, value, self.gate, state, **self._sizes)
        return self.projected(out), state
