"""Longformer's attention: local and global queries under projections of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attncc.errors import ParameterError, ShapeError
from attncc.frontend.accepted import per_head
from attncc.frontend.catalog import factory
from attncc.frontend.patterns import Pattern
from attncc.nn.heads import merged_heads, split_heads
from attncc.nn.sizes import check_positive, check_tokens
from attncc.runtime.api import attention


class LongformerAttention(nn.Module):
    """Self-attention of the pattern `longformer`, with projections apart for global tokens (Beltagy et al. 2020, 3.1).

    Parameters have the names of Transformers' `LongformerSelfAttention`, whose `state_dict` loads.

    Args:
        embed_dim: Size of a token's vector, E.
        num_heads: Heads, H, of E / H each.
        window: Positions that a local token sees beside its own, half of them on either side.
        dilations: The distance of these positions for each head; head h takes number h mod their number.
        causal: Whether no token sees what follows it.
        bias: Whether projections have biases.

    Raises:
        ParameterError: For heads that don't divide E, or a window or dilation that there isn't.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        window: int = 512,
        dilations: Sequence[int] = (1,),
        causal: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ParameterError(
                f"num_heads={num_heads} with embed_dim={embed_dim}.",
                rule="Heads have equal parts of a token's vector.",
                fix="Use a number of heads that divides embed_dim.",
            )
        if not dilations:
            raise ParameterError(
                "dilations is empty.", rule="Each head has a dilation.", fix="Use (1,) for windows without gaps."
            )
        self.embed_dim, self.num_heads, self.window = embed_dim, num_heads, window
        self.dilations, self.causal = tuple(dilations), causal
        self.query, self.key, self.value = (nn.Linear(embed_dim, embed_dim, bias) for _ in range(3))
        self.query_global, self.key_global, self.value_global = (
            nn.Linear(embed_dim, embed_dim, bias) for _ in range(3)
        )
        self._pattern = factory("longformer")
        for dilation in self.dilations:
            self._pattern(roles=[1], window=window, dilation=dilation)  # refuses what it can't take

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return what each token attends to.

        Args:
            hidden: (B, N, E), floating point.
            attention_mask: (B, N), integers: 0 for padding, 1 for local tokens, 2 for global ones. By default all are
                local. In Transformers' terms it is `attention_mask * (global_attention_mask + 1)`.

        Returns:
            (B, N, E); zeros for padding.

        Raises:
            ShapeError: For tokens of another size, or a mask of another shape.
            TableError: For a mask with other numbers.
        """
        check_tokens(hidden, self.embed_dim)
        everyone = hidden.new_ones(hidden.shape[:2], dtype=torch.int64)
        roles = everyone if attention_mask is None else attention_mask
        if roles.shape != hidden.shape[:2]:
            raise ShapeError(
                f"attention_mask is {tuple(roles.shape)}, and hidden {tuple(hidden.shape)}.",
                rule="The mask is (B, N) for (B, N, E).",
                fix="Give each token of each batch entry a number: 0 for padding, 1 local, 2 global.",
            )
        if not roles.numel():  # of which there is no table
            found: Tensor = self.value(hidden)
            return found
        patterns = [self._pattern(roles=roles, window=self.window, dilation=each) for each in self.dilations]
        patterns = [each.causal() for each in patterns] if self.causal else patterns
        near, everything = (per_head([each.layers(n) for each in patterns]) for n in range(2))
        out = self._attended(hidden, near, self.query, self.key, self.value)
        of_global = self._attended(hidden, everything, self.query_global, self.key_global, self.value_global)
        return merged_heads(torch.where((roles == 2)[:, None, :, None], of_global, out))

    def _attended(self, hidden: Tensor, pattern: Pattern, *projections: nn.Linear) -> Tensor:
        """Return attention under three projections of hidden, (B, H, N, E / H)."""
        query, key, value = (split_heads(project(hidden), self.num_heads) for project in projections)
        out = attention(query, key, value, pattern)
        assert isinstance(out, Tensor)  # since neither lse nor scores are asked for
        return out
