"""Layers of the two families whose data decide who sees whom: (B, N, E) to (B, N, E)."""

from __future__ import annotations

import torch
from torch import Tensor

import attncc
from attncc.nn.heads import HeadProjections
from attncc.nn.rotary import rotated
from attncc_reformer.attention import lsh_attention
from attncc_selected.choosing import indexed_tokens


class Hashed(HeadProjections):
    """Reformer's attention: keys are queries of unit length, found by hashes that are drawn for each call.

    Which tokens share a chunk depends on all tokens, later ones too; what a token reads never does.
    """

    def __init__(self, width: int, heads: int, rounds: int, chunk: int) -> None:
        super().__init__(width, heads)
        self.key = self.query  # shared
        self.rounds, self.chunk = rounds, chunk

    def forward(self, hidden: Tensor) -> Tensor:
        query, (_, value) = rotated(self.queries(hidden), 0), self.keys_and_values(hidden)
        return self.projected(lsh_attention(query, value, rounds=self.rounds, chunk=self.chunk, causal=True))


class Indexed(HeadProjections):
    """The tokens that an index finds best, beside a window: DeepSeek's sparse attention.

    The index is made of the attention's own queries and the mean of its keys. DeepSeek trains one apart, by a loss of
    its own.
    """

    def __init__(self, width: int, heads: int, top: int, window: int) -> None:
        super().__init__(width, heads)
        self.top, self.window = top, window

    def forward(self, hidden: Tensor) -> Tensor:
        query, (key, value) = rotated(self.queries(hidden), 0), self.keys_and_values(hidden)
        key = rotated(key, 0)
        weights = torch.ones(query.shape[:3])
        tokens = indexed_tokens(query, key.mean(1), weights, min(self.top, hidden.shape[1]))
        pattern = attncc.load("selected_tokens", tokens=tokens.unsqueeze(1), window=self.window)
        return self.projected(attncc.attention(query, key, value, pattern))
