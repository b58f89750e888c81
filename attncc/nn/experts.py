"""A mixture of experts: each token runs through a few of many layers (Shazeer et al. 2017, Fedus et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.sizes import check_positive, check_tokens


class Mixed(NamedTuple):
    """What a mixture finds, and how its experts were loaded.

    Attributes:
        hidden: (B, N, E).
        load_loss: A number, (): 1 where experts get equal shares of tokens, more elsewhere.
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

    It stands in the place of a feed-forward layer. `auxiliary_losses` collects its loss.

    Args:
        embed_dim: Size of a token's vector, E.
        experts: Layers from (n, E) to (n, E).
        top_k: Experts of a token.
        capacity_factor: See above; infinity drops nothing.
        balance: What the load's loss is multiplied by to be the auxiliary loss; 0.01 in the paper (section 2.2).

    Raises:
        ParameterError: For experts that aren't modules, a top_k that isn't from 1 to their number, or a capacity_factor
            of 0 or less.
    """

    def __init__(
        self,
        embed_dim: int,
        experts: Sequence[nn.Module],
        *,
        top_k: int = 2,
        capacity_factor: float = 1.25,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        check_positive(embed_dim=embed_dim, top_k=top_k)
        if not isinstance(experts, Sequence | nn.ModuleList) or not all(isinstance(x, nn.Module) for x in experts):
            raise ParameterError(
                f"experts={experts!r:.200}.",
                rule="Experts are a list of modules.",
                fix="Use [FeedForward(embed_dim) for _ in range(8)], for example.",
            )
        if not top_k <= len(experts) or not capacity_factor > 0:
            raise ParameterError(
                f"top_k={top_k} of {len(experts)} experts, capacity_factor={capacity_factor}.",
                rule="A token has from 1 to all experts, and their capacity is positive.",
                fix="Use top_k=2 of 8 experts with capacity_factor=1.25, for example.",
            )
        self.embed_dim = embed_dim
        self.router = nn.Linear(embed_dim, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.top_k, self.capacity_factor, self.balance = top_k, capacity_factor, balance

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the mixture on (B, N, E)."""
        return self.mixed(hidden).hidden

    def auxiliary_loss(self, hidden: Tensor) -> Tensor:
        """Return the loss that balances the load, multiplied by `balance`, a number, ()."""
        check_tokens(hidden, self.embed_dim)
        probabilities = self._probabilities(hidden.flatten(0, 1))
        return self.balance * self._load_loss(probabilities, probabilities.argmax(-1))

    def mixed(self, hidden: Tensor) -> Mixed:
        """Return the mixture on (B, N, E), and how its experts were loaded.

        Raises:
            ShapeError: For tokens of another size.
        """
        check_tokens(hidden, self.embed_dim)
        tokens = hidden.flatten(0, 1)
        probabilities = self._probabilities(tokens)
        weights, chosen = probabilities.topk(self.top_k, -1)  # (tokens, k)
        if self.top_k > 1:  # scaled, a single one would be 1, and teach the router nothing
            weights = weights / weights.sum(-1, keepdim=True)
        kept = self._kept(chosen)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            row, rank = torch.nonzero((chosen == number) & kept, as_tuple=True)
            share = weights[row, rank].to(tokens.dtype).unsqueeze(-1)
            out = out.index_add(0, row, share * expert(tokens[row]))
        dropped = (~kept).sum() / max(1, kept.numel())
        return Mixed(out.view_as(hidden), self._load_loss(probabilities, chosen[:, 0]), dropped)

    def _probabilities(self, tokens: Tensor) -> Tensor:
        """Return the router's, (tokens, experts), in float32 at least, as the paper has them (section 2.4)."""
        scores: Tensor = self.router(tokens)
        return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))

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

    def _load_loss(self, probabilities: Tensor, first: Tensor) -> Tensor:
        """Return experts * sum of (share of first choices * mean probability), Fedus et al. 2021, equation 4."""
        experts, tokens = len(self.experts), max(1, len(first))  # without tokens there is no loss
        share = nn.functional.one_hot(first, experts).to(probabilities.dtype).sum(0) / tokens
        return experts * (share * probabilities.sum(0) / tokens).sum()
