"""Linear attention: a kernel of features in place of the softmax's exponential (Katharopoulos et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import elu

from attncc import ParameterError, ShapeError
from attncc.nn.functional.parts import blocks, divided, wide

#: Positive features of queries or keys: (B, H, N, D) -> (B, H, N, F).
FeatureMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LinearState:
    """What linear attention keeps of earlier positions, of any number: sums over them.

    Attributes:
        values: Sums of features times values, (B, H, F, Dv).
        features: Sums of features, (B, H, F).
    """

    values: Tensor
    features: Tensor


def elu_features(x: Tensor) -> Tensor:
    """Return elu(x) + 1 (Katharopoulos et al. 2020, equation 7)."""
    return elu(x) + 1


def linear_attention(query: Tensor, key: Tensor, value: Tensor, *, features: FeatureMap = elu_features) -> Tensor:
    """Return attention of all queries to all keys whose weights are f(q) f(k), in time of Nq + Nk.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, Nk, D).
        value: (B, H, Nk, Dv).
        features: f.

    Returns:
        (B, H, Nq, Dv) in the query's dtype; sums are in float32 at least.

    Raises:
        ShapeError: Heads differ.
    """
    check_heads(query, key, value)
    q, k, v = wide(features(query)), wide(features(key)), wide(value)
    return divided(q @ (k.mT @ v), q @ k.sum(-2).unsqueeze(-1)).to(query.dtype)


def causal_linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    state: LinearState | None = None,
    *,
    features: FeatureMap = elu_features,
    chunk: int = 64,
) -> tuple[Tensor, LinearState]:
    """Return attention whose weights are f(q_i) f(k_j) for j <= i, exactly, in time of N, and the state after it.

    Pairs inside of chunks are computed one by one, and those before by sums. Chunks change the time, not the result,
    and neither does it matter how a sequence is cut into calls.

    Args:
        query: (B, H, N, D).
        key: (B, H, N, D).
        value: (B, H, N, Dv).
        state: What the last call returned; None at the beginning.
        features: f.
        chunk: Positions of a chunk.

    Returns:
        out (B, H, N, Dv) in the query's dtype, and the state for what follows, in float32 at least.

    Raises:
        ParameterError: `chunk` is below 1.
        ShapeError: Heads differ.
    """
    check_heads(query, key, value)
    if not isinstance(chunk, int) or chunk < 1:
        raise ParameterError(f"chunk={chunk}.", rule="It is a number of positions, at least 1.", fix="Use 64.")
    n = query.shape[2]
    q, k, v = (blocks(wide(x), chunk) for x in (features(query), features(key), value))
    # Sums before each chunk, and after the last one; positions that fill up the last chunk have features 0.
    of_values = _before(k.mT @ v, None if state is None else state.values)
    of_features = _before(k.sum(-2), None if state is None else state.features)
    near = (q @ k.mT).tril()
    total = q @ of_values[:, :, :-1] + near @ v
    weight = q @ of_features[:, :, :-1].unsqueeze(-1) + near.sum(-1, keepdim=True)
    out = divided(total, weight).flatten(2, 3)[:, :, :n].to(query.dtype)
    return out, LinearState(of_values[:, :, -1], of_features[:, :, -1])


def check_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise ShapeError unless queries, keys and values have equal batches and heads, and keys and values positions."""
    if query.shape[:2] != key.shape[:2] or key.shape[:3] != value.shape[:3]:
        raise ShapeError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}.",
            rule="Sums over keys are kept for each head: all tensors have the same heads.",
            fix="Repeat heads of keys that are shared: key.repeat_interleave(groups, 1).",
        )


def _before(sums: Tensor, first: Tensor | None) -> Tensor:
    """Return the sums over the chunks before each, (B, H, chunks + 1, ...), beginning with `first`."""
    start = sums.new_zeros(*sums.shape[:2], *sums.shape[3:]) if first is None else first
    return torch.cat([start.unsqueeze(2), sums], 2).cumsum(2)
