"""The greatest score of each row: the launches of a forward once more, for the products of queries and keys alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.torch.group_scores import GroupScore
from attncc.backends.torch.kernels import Written
from attncc.backends.torch.launches import GroupLaunches
from attncc.backends.torch.selection import Selection


def max_scores(
    groups: Iterable[GroupLaunches],
    score_of: Callable[[Selection], GroupScore | None],
    query: Tensor,
    key: Tensor,
    scale: float,
) -> Tensor:
    """Return the greatest score of each row, (B, Hq, Nq) in the accumulation dtype; -inf for rows without keys.

    Args:
        groups: The launches of each group of heads.
        score_of: Gives the score of a group's heads, None where scores stay as they are.
        query: (B, Hq, Nq, D).
        key: (B, Hkv, Nk, D).
        scale: The factor of the products.
    """
    found = torch.full(query.shape[:-1], -math.inf, dtype=accumulation_dtype(query.dtype), device=query.device)
    for group in groups:
        selection = group.selection
        score, q, k = score_of(selection), selection.query_side(query), selection.key_side(key)
        greatest = found.new_full((selection.leading, selection.group_size, query.shape[2]), -math.inf)
        for launch in group.launches:
            kernel = Written(None if score is None else score.on(launch.tiles, launch.first_head))
            mask, rows, own = launch.mask(q), launch.tiles.rows, launch.of_heads(greatest)
            bias = None if mask is None else mask.bias
            part = launch.by_head(kernel.max_scores(launch.rows(q), launch.keys(k), bias, launch.tiles.causal, scale))
            rows.put(own, torch.maximum(rows.take(own, 2), part), 2)
        selection.store_query_side(found, greatest)
    return found
