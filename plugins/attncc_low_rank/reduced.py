"""Fewer keys than positions: projected ones (Linformer), and means of blocks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import attncc
from attncc import ParameterError, ShapeError


def projected(x: Tensor, projection: Tensor) -> Tensor:
    """Return keys or values as k sums over all positions, E x (Wang et al. 2020, equation 7).

    Args:
        x: (B, H, N, D).
        projection: E or F of the paper: (k, N) for all heads, or (H, k, N).

    Returns:
        (B, H, k, D).

    Raises:
        ShapeError: The projection is for another number of positions or heads.
    """
    heads, n = x.shape[1:3]
    shape = tuple(projection.shape)
    if len(shape) not in (2, 3) or shape[-1] != n or (len(shape) == 3 and shape[0] not in (1, heads)):
        raise ShapeError(
            f"projection {shape}, x {tuple(x.shape)}.",
            rule="A projection is (k, N) or (H, k, N), for all N positions of x.",
            fix=f"Give one with {n} columns; shorter sequences take its first columns: projection[..., :n].",
        )
    return projection @ x


def linformer_attention(
    query: Tensor, key: Tensor, value: Tensor, key_projection: Tensor, value_projection: Tensor, **options: Any
) -> Any:
    """Return softmax(Q (E K)^T / sqrt(D)) F V, in time and memory of N k (Wang et al. 2020, equation 7).

    It isn't causal: each projected key is a sum over all positions.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, N, D).
        value: (B, H, N, Dv).
        key_projection: E, (k, N) or (H, k, N).
        value_projection: F, of the same k.
        options: As of attncc.attention.

    Returns:
        What attncc.attention returns.

    Raises:
        ShapeError: The projections don't fit.
    """
    keys, values = projected(key, key_projection), projected(value, value_projection)
    return attncc.attention(query, keys, values, attncc.load("full"), **options)


def pooled_mean(x: Tensor, ratio: int) -> Tensor:
    """Return the means of blocks of `ratio` positions; `pooled` says who sees them.

    Args:
        x: (..., N, D).
        ratio: Positions of a block; it divides N.

    Returns:
        (..., N / ratio, D).

    Raises:
        ParameterError: `ratio` is below 1, or doesn't divide N.
    """
    check_divides("ratio", ratio, x.shape[-2])
    return x.reshape(*x.shape[:-2], x.shape[-2] // ratio, ratio, x.shape[-1]).mean(-2)


def check_divides(name: str, value: int, n: int) -> None:
    """Raise ParameterError unless a number of positions divides N."""
    if value < 1 or n % value:
        raise ParameterError(
            f"{name}={value} with N = {n}.",
            rule=f"{name} is at least 1, and divides the number of positions.",
            fix=f"Pool the first N // {name} * {name} positions: a block that isn't whole is seen by no query.",
        )
