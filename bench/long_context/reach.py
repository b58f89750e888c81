"""What the graph of a family lets a model know: predictions that are made before it is trained."""

from __future__ import annotations

import torch
from torch import Tensor

import attncc


def sources(pattern: attncc.Pattern, context: int, layers: int) -> Tensor:
    """Return which tokens can reach which through so many layers, bool (context, context): [query, source].

    A layer goes from each query to the keys that it sees, and each token keeps what it has.
    """
    seen = attncc.dense_mask(pattern.union().causal(), context).reshape(-1, context, context).any(0)  # by some head
    step = seen.float() + torch.eye(context)
    found = torch.eye(context)
    for _ in range(layers):
        found = ((step @ found) > 0).float()
    return found > 0


def reachable(pattern: attncc.Pattern, context: int, layers: int, distance: int) -> float:
    """Return the share of tokens that the token so many positions before them can reach: 1.0, all of them.

    What is copied at a distance comes from there. A share below one bounds what a model can get right, beyond chance.
    """
    return sources(pattern, context, layers).diagonal(-distance).double().mean().item()
