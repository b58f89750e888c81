"""Attention of shared queries and keys by hashes (Kitaev et al. 2020, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import attncc
from attncc import ShapeError
from attncc_reformer.hashing import checked_buckets, default_buckets, hashed, rotations
from attncc_reformer.places import Places

#: The score of a token with itself, below all others.
SELF = -5e4


def lsh_attention(
    qk: Tensor,
    value: Tensor,
    *,
    rounds: int = 4,
    buckets: int | Sequence[int] | None = None,
    chunk: int | None = 64,
    causal: bool = False,
    repeated: bool = True,
    rotate: Sequence[Tensor] | None = None,
    generator: torch.Generator | None = None,
    scale: float | None = None,
    backend: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Tensor:
    """Return attention of each token over the tokens whose hashes are near its own.

    Queries are `qk`, and keys the same of unit length. A token sees itself only where it sees no other one. Buckets
    have no gradients.

    Args:
        qk: (B, H, N, D), queries and keys.
        value: (B, H, N, Dv).
        rounds: Independent hashes. What a token sees comes near all tokens as they grow.
        buckets: Buckets of a hash, even, or its factors; by default a power of two near N / chunk.
        chunk: Tokens of a chunk of the order sorted by bucket. A token sees its chunk and the one before, whatever
            their buckets are; the first chunk of a round sees the last one of the round before it. None for the exact
            buckets, h(q_i) = h(k_j).
        causal: Whether a token sees only those before it.
        repeated: Whether a key that several rounds find counts as often, as in the authors' code; else it counts once.
        rotate: The rotations, as attncc_reformer.hashing.rotations returns them, in place of drawn ones; `rounds` and
            `buckets` then don't matter.
        generator: Draws the rotations; by default torch's own.
        scale, backend, config: See attncc.attention.

    Returns:
        (B, H, N, Dv), in the dtype of `qk`.

    Raises:
        ParameterError: For `rounds`, `buckets` or `chunk` that there can't be.
        ShapeError: Tensors don't fit together.
    """
    if qk.ndim != 4 or value.shape[:-1] != qk.shape[:-1]:
        raise ShapeError(
            f"qk {tuple(qk.shape)} and value {tuple(value.shape)}.",
            rule="qk is (B, H, N, D) and value (B, H, N, Dv).",
            fix="Add the missing dimensions, or repeat the heads of value.",
        )
    n, head_dim = qk.shape[2:]
    if rotate is None:
        size = checked_buckets(default_buckets(n, chunk or 64) if buckets is None else buckets)
        rotate = rotations(head_dim, size, rounds, generator=generator, device=qk.device)
    places, keys = Places.of(hashed(qk, rotate).flatten(1, 2), chunk), normalize(qk, dim=-1)
    of_tokens = None if repeated else places.of_tokens()
    found = [
        (
            value,
            torch.full(value.shape[:-1], SELF, dtype=torch.promote_types(qk.dtype, torch.float32), device=qk.device),
        )
    ]
    for part in places.parts():
        sides = part.queries(qk), part.keys(keys), part.keys(value)
        score = None if of_tokens is None else part.once(of_tokens)
        call = partial(attncc.attention, *sides, part.pattern(causal=causal), score=score, scale=scale)
        out, lse = call(return_lse=True, backend=backend, config=config)
        sums = (total.squeeze(-1) for total in part.by_round(lse.unsqueeze(-1), qk))
        found += zip(part.by_round(out, qk), sums, strict=True)
    return attncc.merge(*found)[0]
