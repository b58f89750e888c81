"""Infini-attention (Munkhdalai et al. 2024): attention in segments, and a matrix that remembers those before.

`infini_attention` computes a whole sequence without a state, all segments at once; `step` goes along it, cut anywhere.
They are equal: the matrix after a segment is an affine function of that before it, under the delta rule, too, so that
the matrices of all segments are found by a scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import elu

from attncc.errors import ParameterError, ShapeError
from attncc.frontend.catalog import load
from attncc.frontend.patterns import Pattern
from attncc.nn.functional.parts import attended, blocks, divided, joined, pieces, wide
from attncc.nn.functional.state import MemoryState
from attncc.nn.rotary import rotated


@dataclass(frozen=True)
class InfiniState(MemoryState):
    """What a step returns for the next one.

    Attributes:
        matrix: M of the paper, (B, H, D, Dv).
        normaliser: z of the paper, (B, H, D).
        key: Of the segment so far, (B, H, m, D).
        value: (B, H, m, Dv).
    """

    matrix: Tensor
    normaliser: Tensor
    key: Tensor
    value: Tensor

    @classmethod
    def empty(cls, key: Tensor, value: Tensor) -> InfiniState:
        """Return the state before the first position, given any (B, H, n, D) and (B, H, n, Dv) for their sizes."""
        k, v = wide(key[:, :, :0]), wide(value[:, :, :0])
        return cls(k.mT @ v, k.sum(2), key[:, :, :0], value[:, :, :0])


def local_pattern(segment: int) -> Pattern:
    """Return who sees whom in segments; raises ParameterError for a segment below 1."""
    return load("block_diagonal", block=segment).causal()


def infini_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor,
    *,
    segment: int,
    delta: bool = True,
    rotary: bool = False,
    local: Pattern | None = None,
) -> Tensor:
    """Return the gated sum of attention in each segment and of what the segments before left (section 2.1).

    Args:
        query: (B, H, N, D).
        key: (B, H, N, D).
        value: (B, H, N, Dv).
        gate: (H,), beta of the paper: sigmoid(beta) is the share of the memory.
        segment: Positions of a segment; the last one may be shorter.
        delta: Store what the memory doesn't give for a key already (equation 5), or all values (equation 4).
        rotary: Whether queries and keys carry rotary positions of their segment, in it; the memory has no positions.
        local: What `local_pattern(segment)` returns, for torch.compile, which can't make it.

    Returns:
        (B, H, N, Dv).

    Raises:
        ParameterError: `segment` is below 1.
        ShapeError: Heads differ.
    """
    _check(query, key, value, gate, segment)
    n, local = query.shape[2], local_pattern(segment) if local is None else local
    near_query, near_key = (_turned(query, segment), _turned(key, segment)) if rotary else (query, key)
    near, _ = attended(near_query, near_key, value, local)
    q, k, v = (blocks(x, segment) for x in (_features(query), _features(key), wide(value)))
    normaliser = _shifted(k.sum(3).cumsum(2))
    added = k.mT @ v
    matrix = _shifted(_scanned(_kept(k, normaliser), added) if delta else added.cumsum(2))
    far = divided(q @ matrix, q @ normaliser.unsqueeze(-1)).flatten(2, 3)[:, :, :n]
    return _gated(gate, far, near)


def step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor,
    state: InfiniState,
    *,
    segment: int,
    delta: bool = True,
    rotary: bool = False,
) -> tuple[Tensor, InfiniState]:
    """Attend from the next positions, of any number.

    Args:
        query: (B, H, n, D).
        key: (B, H, n, D).
        value: (B, H, n, Dv).
        gate: (H,).
        state: What the last step returned; InfiniState.empty() at the beginning.
        segment: Positions of a segment; the same at each step.
        delta: As in infini_attention.
        rotary: As in infini_attention.

    Returns:
        out (B, H, n, Dv), and the next state.

    Raises:
        ParameterError: `segment` is below 1.
        ShapeError: Heads differ.
    """
    _check(query, key, value, gate, segment)
    outs = []
    for (q, k, v), ends in pieces((query, key, value), state.key.shape[2], segment):
        keys, values = torch.cat([state.key, k], 2), torch.cat([state.value, v], 2)
        first = state.key.shape[2]
        near_q, near_k = (rotated(q, first), rotated(keys, 0)) if rotary else (q, keys)
        near, _ = attended(near_q, near_k, values, load("causal"), q_offset=first)
        outs.append(_gated(gate, _recalled(_features(q), state), near))
        state = InfiniState(state.matrix, state.normaliser, keys, values)
        state = _stored(state, delta) if ends else state
    return joined(outs, query, value), state


def _turned(x: Tensor, segment: int) -> Tensor:
    """Return queries or keys (B, H, N, D) with rotary positions that begin at each segment."""
    return rotated(blocks(x, segment), 0).flatten(2, 3)[:, :, : x.shape[2]]


def _recalled(features: Tensor, state: InfiniState) -> Tensor:
    return divided(features @ state.matrix, features @ state.normaliser.unsqueeze(-1))


def _stored(state: InfiniState, delta: bool) -> InfiniState:
    """Return the state with its segment in the matrix."""
    k, v = _features(state.key), wide(state.value)
    new = v - _recalled(k, state) if delta else v
    empty = state.key[:, :, :0], state.value[:, :, :0]
    return InfiniState(state.matrix + k.mT @ new, state.normaliser + k.sum(2), *empty)


def _kept(features: Tensor, normaliser: Tensor) -> Tensor:
    """Return what the delta rule keeps of each segment's matrix M, (B, H, segments, D, D).

    M + k^T (v - k M / k z) is (1 - k^T (k / k z)) M + k^T v.
    """
    removed = features.mT @ divided(features, features @ normaliser.unsqueeze(-1))
    return torch.eye(removed.shape[-1], dtype=removed.dtype, device=removed.device) - removed


def _scanned(factor: Tensor, term: Tensor) -> Tensor:
    """Return the matrices after each segment, M_s = factor_s M_{s-1} + term_s with M = 0 before the first.

    Both are (B, H, segments, D, D or Dv). Two steps that follow each other are one of this kind, so that half as many
    remain (Blelloch 1990, section 1.3): work of `segments`, in 2 log2(segments) products.
    """
    n = term.shape[2]
    if n <= 1:
        return term
    first, second = slice(0, n - 1, 2), slice(1, n, 2)
    pairs = factor[:, :, second] @ factor[:, :, first]
    odd = _scanned(pairs, factor[:, :, second] @ term[:, :, first] + term[:, :, second])
    later = factor[:, :, 2::2] @ odd[:, :, : (n - 1) // 2] + term[:, :, 2::2]
    even = torch.cat([term[:, :, :1], later], 2)
    odd = torch.cat([odd, even[:, :, : n % 2]], 2)  # filled up
    return torch.stack([even, odd], 3).flatten(2, 3)[:, :, :n]


def _shifted(x: Tensor) -> Tensor:
    """Return what was before each segment, given what is after it, (B, H, segments, ...)."""
    return torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :-1]], 2)


def _gated(gate: Tensor, far: Tensor, near: Tensor) -> Tensor:
    share = wide(gate).sigmoid().view(-1, 1, 1)
    return (share * far + (1 - share) * near).to(near.dtype)


def _features(x: Tensor) -> Tensor:
    return elu(wide(x)) + 1


def _check(query: Tensor, key: Tensor, value: Tensor, gate: Tensor, segment: int) -> None:
    if not isinstance(segment, int) or segment < 1:
        raise ParameterError(f"segment={segment}.", rule="It is a number of positions, at least 1.", fix="Use 2048.")
    if not query.shape[:3] == key.shape[:3] == value.shape[:3] or gate.shape != query.shape[1:2]:
        shapes = [tuple(x.shape) for x in (query, key, value, gate)]
        raise ShapeError(
            f"query {shapes[0]}, key {shapes[1]}, value {shapes[2]}, gate {shapes[3]}.",
            rule="All have the same heads, each with a matrix of its own, and the gate is (H,).",
            fix="Repeat heads of keys that are shared: key.repeat_interleave(groups, 1).",
        )
