"""A mixture of experts: each token runs through a few of many layers (Shazeer et al. 2017, Fedus et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.sizes import check_positive


class Mixed(NamedTuple):
    """What a mixture returns.

    Attributes:
        hidden: (B, N, E).
        load_loss: A number to add to a loss: 1 where experts get equal shares of tokens, more elsewhere.
        dropped: The share of choices that found their expert full.
    """

    hidden: Tensor
    load_loss: Tensor
    dropped: Tensor


class MixtureOfExperts(nn.Module):
    """Top-k routing to experts of limited capacity, with a loss that balances their load.

    Each token is added up from its chosen experts by the router's probabilities, scaled to a sum of 1 if there are
    several (Fedus et al. 2021, equation 2, for one). An expert takes
    capacity_factor * k * tokens / experts choices, first those that are first choices, in the order of tokens; a choice
    beyond adds nothing.

    Args:
        embed_dim: Size of a token's vector, E.
        experts: Layers from (n, E) to (n, E).
        top_k: Experts of a token.
        capacity_factor: See above; infinity drops nothing.

    Raises:
        ParameterError: For a top_k that isn't from 1 to the number of experts, or a capacity_factor of 0 or less.
    """

    def __init__(
        self, embed_dim: int, experts: Sequence[nn.Module], *, top_k: int = 2, capacity_factor: float = 1.25
    ) -> None:
        super().__init__()
        check_positive(embed_dim=embed_dim, top_k=top_k)
        if not top_k <= len(experts) or not capacity_factor > 0:
            raise ParameterError(
                f"top_k={top_k} of {len(experts)} experts, capacity_factor={capacity_factor}.",
                rule="A token has from 1 to all experts, and their capacity is positive.",
                fix="Use top_k=2 of 8 experts with capacity_factor=1.25, for example.",
            )
        self.router = nn.Linear(embed_dim, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.top_k, self.capacity_factor = top_k, capacity_factor

    def forward(self, hidden: Tensor) -> Mixed:
        """Return the mixture on (B, N, E)."""
        tokens = hidden.flatten(0, 1)
        scores = self.router(tokens)
        precise = torch.promote_types(scores.dtype, torch.float32)  # the router's, as the paper has it (section 2.4)
        probabilities = scores.softmax(-1, dtype=precise)
        weights, chosen = probabilities.topk(self.top_k, -1)  # (tokens, k)
        if self.top_k > 1:  # scaled, a single one would be 1, and teach the router nothing
            weights = weights / weights.sum(-1, keepdim=True)
        kept = self._kept(chosen)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            row, rank = torch.nonzero((chosen == number) & kept, as_tuple=True)
            share = weights[row, rank].to(tokens.dtype).unsqueeze(-1)
            out = out.index_add(0, row, share * expert(tokens[row]))
        return Mixed(out.view_as(hidden), self._load_loss(probabilities, chosen), 1 - kept.float().mean())

    def _kept(self, chosen: Tensor) -> Tensor:
        """Return which choices (tokens, k) find their expert free."""
        if math.isinf(self.capacity_factor):
            return torch.ones_like(chosen, dtype=torch.bool)
        capacity = math.ceil(self.capacity_factor * chosen.numel() / len(self.experts))
        in_turn = nn.functional.one_hot(
            chosen.T.flatten(), len(self.experts)
        )  # first choices of all tokens, then second
        place = (in_turn.cumsum(0) * in_turn).sum(-1)
        return (place <= capacity).view(self.top_k, -1).T

    def _load_loss(self, probabilities: Tensor, chosen: Tensor) -> Tensor:
        """Return experts * sum of (share of first choices * mean probability), Fedus et al. 2021, equation 4."""
        experts = len(self.experts)
        share = nn.functional.one_hot(chosen[:, 0], experts).to(probabilities.dtype).mean(0)
        return experts * (share * probabilities.mean(0)).sum()
