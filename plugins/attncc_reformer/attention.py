"""Attention of shared queries and keys by hashes (Kitaev et al. 2020, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

import attncc
from attncc import Condition, Index, ParameterError, ShapeError, Table
from attncc_reformer import lsh
from attncc_reformer.hashing import checked_buckets, default_buckets, hashed, rotations, sorted_chunks

#: The score of a token with itself, below all others.
SELF = -5e4


@attncc.pattern
def _before(i: Index, j: Index, *, copies: int) -> Condition:
    """Keys of earlier tokens, each of which has `copies` neighbouring positions."""
    return j // copies < i // copies


@attncc.pattern
def _elsewhere(i: Index, j: Index, *, copies: int) -> Condition:
    """Keys of other tokens, each of which has `copies` neighbouring positions."""
    return j // copies != i // copies


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
    found = hashed(qk, rotate)
    seen, copies = _seen(found.flatten(1, 2), chunk, repeated=repeated)
    pattern = seen & (_before if causal else _elsewhere)(copies=copies)
    sides = qk, normalize(qk, dim=-1), value
    packed = (x.unsqueeze(3).expand(-1, -1, -1, copies, -1).reshape(1, 1, -1, x.shape[-1]) for x in sides)
    out, lse = attncc.attention(*packed, pattern, scale=scale, return_lse=True, backend=backend, config=config)
    out, lse = out.view(*value.shape[:3], copies, -1), lse.view(*value.shape[:3], copies)
    alone = value, torch.full_like(lse[..., 0], SELF)
    return attncc.merge(*zip(out.unbind(3), lse.unbind(3), strict=True), alone)[0]


def _seen(buckets: Tensor, chunk: int | None, *, repeated: bool) -> tuple[attncc.Pattern, int]:
    """Return the pattern of all entries' tokens laid end to end, and how often each token stands there.

    Args:
        buckets: (rounds, entries, N).
        chunk, repeated: As in `lsh_attention`.
    """
    rounds, entries, n = buckets.shape
    if chunk is None:
        own, count = buckets, int(buckets.max()) + 1 if buckets.numel() else 1
    else:
        own, count = sorted_chunks(buckets, chunk), max(1, -(-n // chunk))
    first = torch.arange(entries, device=own.device).view(-1, 1) * (rounds * count)
    number = own + torch.arange(rounds, device=own.device).view(-1, 1, 1) * count
    classes = [number + first]
    if chunk is not None and rounds * count > 1:
        classes.append((number - 1) % (rounds * count) + first)
    if repeated:
        rows = [x.permute(1, 2, 0).reshape(-1) for x in classes]
        pairs = [(row, rows[0]) for row in rows]
        return _union(pairs), rounds
    keys, *_ = tables = [x.reshape(rounds, -1) for x in classes]
    pairs = [(row, key) for query in tables for row, key in zip(query, keys, strict=True)]
    if len(tables) > 1:  # the first chunk of a round looks back at the round before
        pairs += zip(tables[1], keys.roll(1, 0), strict=True)
    return _union(pairs), 1


def _union(pairs: Iterable[tuple[Tensor, Tensor]]) -> attncc.Pattern:
    """Return the pattern of keys whose class is the query's in one of some pairs of tables, (queries, keys)."""
    return reduce(or_, (lsh(queries=Table(query), keys=Table(key)) for query, key in pairs))
