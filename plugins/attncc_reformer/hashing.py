"""Hashes by random rotations, and the chunks of the order that they sort tokens to (Kitaev et al. 2020, section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attncc import ParameterError, ShapeError

#: Buckets up to which they are one hash by default; beyond, hashing would take longer than attention.
MOST_BUCKETS = 128
#: The factors of more buckets have at most so many bits.
FACTOR_BITS = 4


def default_buckets(n: int, chunk: int) -> tuple[int, ...]:
    """Return factors of a number of buckets for n tokens, a power of two near n / chunk: one up to 128 buckets."""
    bits = max(1, round(math.log2(max(n, 1) / chunk)))
    factors = 1 if 1 << bits <= MOST_BUCKETS else -(-bits // FACTOR_BITS)
    return tuple(1 << (bits + k) // factors for k in range(factors))


def rotations(
    head_dim: int,
    buckets: int | Sequence[int],
    rounds: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> tuple[Tensor, ...]:
    """Return random rotations, (rounds, D, b / 2) for each factor b of the number of buckets.

    Args:
        head_dim: D, the size of what is hashed.
        buckets: The number of buckets, even; or its factors, each even. Two factors of 32 make 1,024 buckets, for the
            products of 64.
        rounds: The number of independent hashes.
        generator: Draws the entries, which are normal; by default torch's own.
        dtype: The rotations' dtype.
        device: Where they lie, by default where the generator draws.

    Raises:
        ParameterError: `buckets` isn't even, or has too few; `rounds` is below 1.
    """
    factors = checked_buckets(buckets)
    if rounds < 1:
        raise ParameterError(f"rounds={rounds!r}.", rule="There is at least one round of hashing.", fix="Use rounds=4.")
    drawn = device if generator is None else generator.device
    return tuple(
        torch.randn(rounds, head_dim, factor // 2, generator=generator, dtype=dtype, device=drawn).to(device)
        for factor in factors
    )


def checked_buckets(buckets: int | Sequence[int]) -> tuple[int, ...]:
    """Return the factors of a number of buckets; raises ParameterError, as `rotations` does."""
    factors = (buckets,) if isinstance(buckets, int) else tuple(buckets)
    if not factors or not all(isinstance(factor, int) and factor >= 2 and factor % 2 == 0 for factor in factors):
        raise ParameterError(
            f"buckets={buckets!r}.",
            rule="The number of buckets is even and at least 2, or a list of such factors: a hash is the largest of "
            "x R and -x R.",
            fix="Use an even number, such as buckets=64, or buckets=(32, 32) for 1,024.",
        )
    return factors


def hashed(x: Tensor, rotations: Sequence[Tensor]) -> Tensor:
    """Return the buckets of x, h(x) = argmax of [x R, -x R], int64 (rounds, ..., N).

    Args:
        x: (..., N, D), such as (B, H, N, D).
        rotations: (rounds, D, b / 2) for each factor b, as `rotations` returns them, or (rounds, ..., D, b / 2) whose
            middle dimensions repeat to those of x, for rotations of each head.

    Raises:
        ShapeError: The rotations aren't of x's size D, or of different rounds.
    """
    found: Tensor | None = None
    for matrix in rotations:
        if matrix.ndim < 3 or matrix.shape[-2] != x.shape[-1] or len(matrix) != len(rotations[0]):
            raise ShapeError(
                f"rotations of shape {tuple(matrix.shape)} with tensors of shape {tuple(x.shape)}.",
                rule="rotations are (rounds, D, b / 2), as many rounds for each factor b, and D is the head's size.",
                fix=f"Use rotations({x.shape[-1]}, buckets, rounds).",
            )
        between = (1,) * (x.ndim + 1 - matrix.ndim)
        turned = x.detach().to(matrix.dtype) @ matrix.reshape(len(matrix), *between, *matrix.shape[1:])
        (most, first), (least, last) = turned.max(-1), turned.min(-1)
        bucket = torch.where(most >= -least, first, last + turned.shape[-1])
        found = bucket if found is None else found * (2 * turned.shape[-1]) + bucket
    if found is None:
        raise ShapeError(
            "rotations=().", rule="There is at least one rotation.", fix="Use rotations(D, buckets, rounds)."
        )
    return found


def sorted_chunks(buckets: Tensor, chunk: int) -> Tensor:
    """Return the chunk of each token in the order sorted by bucket, then by position; int64 in the shape of `buckets`.

    Args:
        buckets: (..., N), integers.
        chunk: The tokens of a chunk. The last one is shorter where N isn't a multiple of it.

    Raises:
        ParameterError: `chunk` is below 1.
    """
    if chunk < 1:
        raise ParameterError(f"chunk={chunk!r}.", rule="A chunk has at least one token.", fix="Use chunk=64.")
    order = buckets.sort(dim=-1, stable=True).indices
    number = torch.arange(buckets.shape[-1], device=buckets.device) // chunk
    return torch.empty_like(order).scatter_(-1, order, number.expand_as(order))
