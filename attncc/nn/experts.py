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


class LoadBalance(nn.Module):
    """What a router's probabilities pass through as they are, with a loss that `auxiliary_losses` collects.

    Since it is of what passes, nothing runs twice and nothing is kept between calls.

    Args:
        factor: What the loss is multiplied by.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, probabilities: Tensor) -> Tensor:
        """Return the probabilities, (tokens, experts)."""
        return probabilities

    def auxiliary_loss(self, probabilities: Tensor) -> Tensor:
        """Return the load's loss, multiplied by `factor`, a number, ()."""
        return self.factor * _load_loss(probabilities)


class MixtureOfExperts(nn.Module):
    """Top-k routing to experts of limited capacity, with a loss that balances their load.

    Each token is added up from its chosen experts by the router's probabilities, scaled to a sum of 1 if there are
    several (Fedus et al. 2021, equation 2, for one). An expert takes
    capacity_factor * k * tokens / experts choices, first those that are first choices, in the order of tokens; a choice
    beyond adds nothing.

    It stands in the place of a feed-forward layer. `auxiliary_losses` collects its loss, that of `load_balance`.

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
        self.load_balance = LoadBalance(balance)
        self.top_k, self.capacity_factor = top_k, capacity_factor

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the mixture on (B, N, E)."""
        return self._routed(hidden)[0]

    def mixed(self, hidden: Tensor) -> Mixed:
        """Return the mixture on (B, N, E), and how its experts were loaded.

        Raises:
            ShapeError: For tokens of another size.
        """
        out, probabilities, kept = self._routed(hidden)
        return Mixed(out, _load_loss(probabilities), (~kept).sum() / max(1, kept.numel()))

    def _routed(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mixture, the router's probabilities (tokens, experts), and which choices (tokens, k) were kept."""
        check_tokens(hidden, self.embed_dim)
        tokens = hidden.flatten(0, 1)
        probabilities = self.load_balance(self._probabilities(tokens))
        weights, chosen = probabilities.topk(self.top_k, -1)  # (tokens, k)
        if self.top_k > 1:  # scaled, a single one would be 1, and teach the router nothing
            weights = weights / weights.sum(-1, keepdim=True)
        kept = self._kept(chosen)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            row, rank = torch.nonzero((chosen == number) & kept, as_tuple=True)
            share = weights[row, rank].to(tokens.dtype).unsqueeze(-1)
            out = out.index_add(0, row, share * expert(tokens[row]))
        return out.view_as(hidden), probabilities, kept

    def _probabilities(self, tokens: Tensor) -> Tensor:
        """Return the router's, (tokens, experts), in float32 at least, as the paper has them (section 2.4)."""
        scores: Tensor = self.router(tokens)
        return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))

    def _kept(self, chosen: Tensor) -> Tensor:
        """Return which choices (tokens, k) find their expert free."""
        if math.isinf(self.capacity_factor):
            return torch.ones_like(chosen, dtype=torch.bool)
        capacity = math.ceil(self.capacity_factor * chosen.numel() / len(self.experts))
        by_rank = chosen.T.flatten()  # first choices of all tokens, then second
        in_turn = nn.functional.one_hot(by_rank, len(self.experts))
        place = (in_turn.cumsum(0) * in_turn).sum(-1)
        return (place <= capacity).view(self.top_k, -1).T


def _load_loss(probabilities: Tensor) -> Tensor:
    """Return experts * sum of (share of first choices * mean probability), Fedus et al. 2021, equation 4."""
    tokens, experts = probabilities.shape
    first = nn.functional.one_hot(probabilities.argmax(-1), experts).to(probabilities.dtype)
    return experts * (first.sum(0) * probabilities.sum(0)).sum() / max(1, tokens) ** 2  # without tokens there is none
