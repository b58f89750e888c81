"""Self-attention of a pattern, with projections, grouped key heads, rotary positions, sinks, and a cache of keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attncc.frontend.accepted import AnyPattern, AnyScore
from attncc.nn.functional.state import KeyValues
from attncc.nn.heads import HeadProjections
from attncc.nn.rotary import rotated
from attncc.runtime.api import attention


class Attention(HeadProjections):
    """Multi-head self-attention of a pattern (Vaswani et al. 2017).

    Args:
        embed_dim: Size of a token's vector, E.
        num_heads: Query heads, Hq, of E / Hq each.
        pattern: Which keys each query sees, by positions. Bottom-right masks of `attncc.like` don't go with `step`,
            whose first query already stands at the position after the earlier keys.
        num_key_heads: Key heads, Hkv, which divide Hq (Ainslie et al. 2023); as many by default.
        score: What becomes of the scores, such as `attncc.alibi(slopes=...)`; weights of a model go in `score_weights`.
        score_weights: The names and initial values of the score's weights, which become parameters.
        rotary: Whether queries and keys carry rotary positions.
        sinks: Whether each head has a learnt sink, one more term of its softmax (gpt-oss).
        bias: Whether projections have biases.

    Raises:
        ParameterError: For heads that don't divide E, or key heads that don't divide heads.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        pattern: AnyPattern,
        *,
        num_key_heads: int | None = None,
        score: AnyScore = None,
        score_weights: dict[str, Tensor] | None = None,
        rotary: bool = False,
        sinks: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(embed_dim, num_heads, num_key_heads, bias)
        self.pattern, self.score, self.rotary = pattern, score, rotary
        self.sink = nn.Parameter(torch.zeros(num_heads)) if sinks else None
        named = (score_weights or {}).items()
        self.score_weights = nn.ParameterDict({name: nn.Parameter(x.clone()) for name, x in named})

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what each token of (B, N, E) attends to, (B, N, E)."""
        return self.step(hidden)[0]

    def step(self, hidden: Tensor, past: KeyValues | None = None) -> tuple[Tensor, KeyValues]:
        """Return the same for tokens that follow earlier ones, and the keys and values of all of them.

        Args:
            hidden: (B, N, E).
            past: What the step before returned; None at the beginning.

        Raises:
            ShapeError: For tokens of another size, or a past of another batch.
        """
        self._check(hidden, past.key if past else None)
        first = past.length if past else 0
        query, (key, value) = self.queries(hidden), self.keys_and_values(hidden)
        if self.rotary:
            query, key = rotated(query, first), rotated(key, first)
        seen = past.and_then(KeyValues(key, value)) if past else KeyValues(key, value)
        out = attention(
            query,
            *seen,
            self.pattern,
            score=self.score,
            weights=dict(self.score_weights) or None,
            sink=self.sink,
            enable_gqa=self.num_key_heads != self.num_heads,
            q_offset=first,
        )
        assert isinstance(out, Tensor)  # since neither lse nor scores are asked for
        return self.projected(out), seen
