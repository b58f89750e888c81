"""Scores by relative position (Dai et al. 2019, section 3.3): (q_i + u) k_j + (q_i + v) W r_{i-j}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attncc.errors import ParameterError, ShapeError
from attncc.frontend.language import Index
from attncc.frontend.patterns import Pattern
from attncc.frontend.real import Real
from attncc.frontend.scores import score
from attncc.frontend.weights import Weights
from attncc.runtime.api import attention


@score
def relative_table(
    score: Real, b: Index, h: Index, i: Index, j: Index, n_q: Index, n_k: Index, *, table: Weights
) -> Real:
    """The score plus a number of the query for the distance of the key; the last query stands at the last key.

    Args:
        table: (B, H, Nq, distances), of which query row r adds [b, h, r, i - j].
    """
    return score + table[b, h, i - (n_k - n_q), i - j]


@dataclass(frozen=True)
class RelativePosition:
    """What the score of relative positions learns.

    Attributes:
        content: u of the paper, (H, D), which each query adds for keys.
        position: v of the paper, (H, D), which each query adds for distances.
        distances: W r of the paper, (H, distances, D): entry d is for keys d positions before the query.
    """

    content: Tensor
    position: Tensor
    distances: Tensor


def sinusoids(distances: int, size: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return r of the paper for distances 0, 1, ...: sines, and then cosines (Vaswani et al. 2017, section 3.5).

    Args:
        distances: Their number.
        size: Of the encoding, even.
        dtype: Of the result.

    Returns:
        (distances, size).

    Raises:
        ParameterError: `size` isn't an even number of at least 2.
    """
    angles = _angles(torch.arange(distances, dtype=torch.float64), size)
    return torch.cat([angles.sin(), angles.cos()], -1).to(dtype)


def relative_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern,
    relative: RelativePosition,
    **options: Any,
) -> Any:
    """Return attention whose scores are ((q_i + u) k_j + (q_i + v) W r_{i-j}) / sqrt(D), exactly.

    (q_i + v) W r_d is a table of Nq x distances numbers a head, made by one matrix product. It gets gradients, and
    through it q, v and W r do. It takes memory for each query and distance: keep distances to those that are seen.

    Args:
        query: (B, H, Nq, D), the last Nq positions.
        key: (B, Hkv, Nk, D); Hkv divides H.
        value: (B, Hkv, Nk, Dv).
        pattern: Connects no key after its query, nor one as many positions before it as there are distances.
        relative: For H heads.
        options: As of attncc.attention: backend, config, sink, return_lse.

    Returns:
        What attncc.attention returns.

    Raises:
        ShapeError: `relative` doesn't fit the query.
        TableError: The pattern connects a distance that `relative` doesn't have.
    """
    check_relative(query, relative)
    scale = query.shape[-1] ** -0.5
    table = scale * (query + relative.position.unsqueeze(1)) @ relative.distances.mT
    shifted = query + relative.content.unsqueeze(1)
    offset = key.shape[2] - query.shape[2]
    given: dict[str, Any] = {"score": relative_table, "weights": {"table": table}, "q_offset": offset, **options}
    return attention(shifted, key, value, pattern, scale=scale, enable_gqa=True, **given)


def widened(query: Tensor, key: Tensor, content: Tensor, position: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys whose products are (q_i + u) k_j + (q_i + v) W r_{i-j}, for sinusoids r.

    sin((i - j) w) and cos((i - j) w) are sums of products of what i and what j has, so that E more channels hold the
    position's part for all distances, and attention needs no table: pass scale=D**-0.5. It costs (D + E) / D products,
    and is the better one of the two where a query sees more keys than a head has channels to spare memory for.

    Args:
        query: (B, H, Nq, D), the last Nq positions.
        key: (B, H, Nk, D).
        content: u, (H, D).
        position: v, (H, D).
        projection: W, (H, D, E); `sinusoids(distances, E)` is what it is applied to.

    Returns:
        (B, H, Nq, D + E) and (B, H, Nk, D + E).

    Raises:
        ParameterError: E isn't even.
    """
    size, n_k = projection.shape[-1], key.shape[2]
    angles = _angles(torch.arange(n_k, dtype=torch.float64, device=key.device), size)
    sine, cosine = angles.sin().to(key.dtype), angles.cos().to(key.dtype)
    by_sine, by_cosine = ((query + position.unsqueeze(1)) @ projection).chunk(2, -1)
    own_sine, own_cosine = sine[n_k - query.shape[2] :], cosine[n_k - query.shape[2] :]
    turned = [by_sine * own_sine + by_cosine * own_cosine, by_cosine * own_sine - by_sine * own_cosine]
    waves = torch.cat([cosine, sine], -1).expand(*key.shape[:2], -1, -1)
    return torch.cat([query + content.unsqueeze(1), *turned], -1), torch.cat([key, waves], -1)


def check_relative(query: Tensor, relative: RelativePosition) -> None:
    """Raise ShapeError unless relative positions are for the heads and channels of a query (B, H, Nq, D)."""
    heads, size = query.shape[1], query.shape[-1]
    for name, rank in (("content", 2), ("position", 2), ("distances", 3)):
        shape = tuple(getattr(relative, name).shape)
        if len(shape) != rank or (shape[0], shape[-1]) != (heads, size):
            raise ShapeError(
                f"{name} {shape}, query {tuple(query.shape)}.",
                rule="content and position are (H, D), distances (H, distances, D), with H and D of the query.",
                fix=f"Give {heads} heads of {size} channels.",
            )


def _angles(positions: Tensor, size: int) -> Tensor:
    """Return (positions, size / 2) angles, from the fastest to the slowest wave; raises ParameterError."""
    if size < 2 or size % 2:
        raise ParameterError(
            f"size={size}.", rule="Half of the encoding are sines, half cosines.", fix=f"Use {max(2, size + 1)}."
        )
    waves = torch.arange(0, size, 2, dtype=torch.float64, device=positions.device) / size
    return positions.unsqueeze(-1) * 10000.0**-waves
