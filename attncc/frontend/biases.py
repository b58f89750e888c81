"""Scores that many models use: ALiBi, T5's relative position bias, and soft-capping."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from attncc.errors import ParameterError
from attncc.frontend.language import Index, Table, maximum, minimum
from attncc.frontend.real import Real, tanh
from attncc.frontend.scores import ScoreFactory, score
from attncc.frontend.weights import Weights
from attncc.ir.claims import Bounds

#: Heads, buckets and distances are below this: a list of each is made.
MOST = 1 << 20


@score
def alibi(score: Real, i: Index, j: Index, h: Index, *, slopes: Weights) -> Real:
    """The score less a slope for each position between query and key (Press et al. 2022).

    Args:
        slopes: (H,), see `alibi_slopes`.
    """
    return score - slopes[h] * abs(i - j)


@score
def t5_bias(
    i: Index,
    j: Index,
    h: Index,
    *,
    weights: Weights,
    bidirectional: bool = False,
    max_distance: Annotated[int, Bounds(minimum=2)] = 128,
) -> Real:
    """A learned bias by head and bucket of the distance (Raffel et al. 2020, section 2.1; T5 has scale=1).

    Args:
        weights: (H, buckets).
        bidirectional: Whether keys after the query have buckets of their own.
        max_distance: The distance from which all share the last bucket.
    """
    buckets = Table(t5_buckets(weights.shape[-1], max_distance, bidirectional=bidirectional), "buckets")
    gap = maximum(minimum(j - i, max_distance), -max_distance)
    return weights[h, buckets[gap + max_distance]]


@score
def softcap(score: Real, *, cap: Annotated[float, Bounds(minimum=1e-6)]) -> Real:
    """The score brought smoothly between -cap and cap: cap * tanh(score / cap) (Gemma 2, 2024, section 2).

    Args:
        cap: The limit.
    """
    return cap * tanh(score / cap)


def initial_weights(declared: ScoreFactory, heads: int) -> dict[str, Tensor]:
    """Return the weights by name that a model of `heads` heads begins with, for a score of this module.

    ALiBi's slopes stay as they are; T5's 32 buckets a head are drawn, and trained.
    """
    if declared is alibi:
        return {"slopes": alibi_slopes(heads)}
    if declared is t5_bias:
        drawn = torch.randn(heads, 32, generator=torch.Generator().manual_seed(0), device="cpu")
        return {"weights": drawn.requires_grad_()}
    return {}


def alibi_slopes(heads: int) -> Tensor:
    """Return the slopes of ALiBi (Press et al. 2022, section 3).

    For a power of two they are 2^(-8 k / H), k = 1 .. H. Otherwise they are those of the power of two below, and then
    every other one of those of the next power of two.

    Args:
        heads: H.

    Returns:
        (H,), float32.
    """
    _require("heads", heads, 1)
    below = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * k / below) for k in range(1, below + 1)]
    between = [2.0 ** (-4 * k / below) for k in range(1, 2 * below, 2)]
    return torch.tensor((slopes + between)[:heads])


def t5_buckets(buckets: int, max_distance: int = 128, *, bidirectional: bool = False) -> list[int]:
    """Return the bucket of each gap j - i from -max_distance to max_distance (Raffel et al. 2020, section 2.1).

    Half of the buckets hold one distance each, the others grow as its logarithm up to `max_distance`, and the last one
    holds all beyond.

    Args:
        buckets: Their number.
        max_distance: The distance from which all share the last bucket.
        bidirectional: Whether the upper half of the buckets is for keys after the query, which otherwise share the
            bucket of distance 0.

    Returns:
        (2 * max_distance + 1,), integers.
    """
    _require("buckets", buckets, 2 if bidirectional else 1)
    _require("max_distance", max_distance, 1)
    side = buckets // 2 if bidirectional else buckets
    exact = max(1, side // 2)

    def bucket(distance: int) -> int:
        if distance < exact:
            return distance
        grown = math.log(distance / exact) / math.log(max(max_distance, exact + 1) / exact) * (side - exact)
        return min(side - 1, exact + int(grown))

    before = [bucket(distance) for distance in range(max_distance, -1, -1)]
    after = [bucket(distance) + side if bidirectional else 0 for distance in range(1, max_distance + 1)]
    return before + after


def _require(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < MOST:
        raise ParameterError(
            f"{name}={value!r}.",
            rule=f"It is an integer of at least {least} and below {MOST}.",
            fix="Give one of those.",
        )
