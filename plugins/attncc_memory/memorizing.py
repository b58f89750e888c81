"""Memorizing Transformers (Wu et al. 2022): each query retrieves the k memories that fit it best.

Memories are keys and values of positions before the local context, and get no gradient. `memorizing_attention` computes
a whole sequence at once, without a state; `step` goes along it, cut anywhere. They are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

import attncc
from attncc import ParameterError, ShapeError
from attncc.nn.functional.parts import Part, attended, joined, pieces, wide
from attncc.nn.functional.state import MemoryState

#: Queries whose scores for all memories are in memory at once.
ROWS = 256


@dataclass(frozen=True)
class RetrievalSizes:
    """How much is kept, and how much of it is seen.

    Attributes:
        k: Memories that each query retrieves; at most `size`.
        size: Memories that are kept; the oldest are dropped.
        segment: Positions of a segment.
        memory: Positions before the segment that are seen as they are; what is older is a memory.
    """

    k: int
    size: int
    segment: int
    memory: int = 0

    def recent(self) -> attncc.Pattern:
        """Return who sees which positions; raises ParameterError for sizes that can't be."""
        if not isinstance(self.k, int) or not 1 <= self.k <= self.size:
            raise ParameterError(
                f"k={self.k} with size={self.size}.",
                rule="A query retrieves at least 1 memory, and at most all that are kept.",
                fix=f"Use a k from 1 to {self.size}, or keep more.",
            )
        return attncc.load("segment_memory", segment=self.segment, memory=self.memory)


@dataclass(frozen=True)
class RetrievalState(MemoryState):
    """What a step returns for the next one.

    Attributes:
        key: Of the local context, (B, Hkv, m, D).
        value: (B, Hkv, m, Dv).
        old_key: Of the memories, without gradient, (B, Hkv, n, D).
        old_value: (B, Hkv, n, Dv).
        position: Positions so far.
    """

    key: Tensor
    value: Tensor
    old_key: Tensor
    old_value: Tensor
    position: int

    @classmethod
    def empty(cls, key: Tensor, value: Tensor) -> RetrievalState:
        """Return the state before the first position, given any (B, Hkv, n, D) and (B, Hkv, n, Dv) for their sizes."""
        key, value = key[:, :, :0], value[:, :, :0]
        return cls(key, value, key.detach(), value.detach(), 0)


@torch.no_grad()
def nearest(query: Tensor, key: Tensor, k: int) -> Tensor:
    """Return the k keys of the greatest products with each query, in float32 at least, in any order.

    Args:
        query: (B, H, Nq, D).
        key: (B, Hkv, Nk, D); Hkv divides H.
        k: Keys for each query.

    Returns:
        (B, H, Nq, k), int64.

    Raises:
        ParameterError: k isn't from 1 to Nk.
    """
    n_k = key.shape[2]
    if not isinstance(k, int) or not 1 <= k <= n_k:
        raise ParameterError(
            f"k={k} of {n_k} memories.", rule="k is from 1 to the number of memories.", fix=f"Use min(k, {n_k})."
        )
    grouped, keys = wide(query).reshape(len(query), key.shape[1], -1, *query.shape[2:]), wide(key).unsqueeze(2).mT
    chunks = [grouped[:, :, :, row : row + ROWS] for row in range(0, query.shape[2], ROWS)]
    best = [(rows @ keys).topk(k).indices for rows in chunks]
    return torch.cat(best, 3).flatten(1, 2)


def gated(local: Part, memory: Part, gate: Tensor) -> Tensor:
    """Return sigmoid(gate) memory + (1 - sigmoid(gate)) local (section 3.2); a query without memories is local.

    Args:
        local: (out, lse): (B, H, N, Dv) and (B, H, N).
        memory: (out, lse).
        gate: (H,).

    Raises:
        ShapeError: There isn't one gate for each head.
    """
    if gate.shape != local[0].shape[1:2]:
        raise ShapeError(
            f"gate {tuple(gate.shape)}, out {tuple(local[0].shape)}.",
            rule="There is one gate for each query head, (H,).",
            fix=f"Give {local[0].shape[1]} numbers.",
        )
    share = gate.sigmoid().view(-1, 1) * (memory[1] > -torch.inf)
    return torch.lerp(local[0], memory[0], share.unsqueeze(-1).to(local[0].dtype))


def memorizing_attention(
    query: Tensor, key: Tensor, value: Tensor, sizes: RetrievalSizes, gate: Tensor | None = None
) -> Tensor:
    """Return attention of a whole sequence to its segments and to retrieved memories.

    Args:
        query: (B, H, N, D).
        key: (B, Hkv, N, D).
        value: (B, Hkv, N, Dv).
        sizes: What is kept and seen.
        gate: (H,), as in the paper; None for one softmax over both.

    Returns:
        (B, H, N, Dv).

    Raises:
        ParameterError: Sizes don't fit together.
        ShapeError: There isn't one gate for each head.
    """
    near = attended(query, key, value, sizes.recent())
    found = []
    for start in range(0, query.shape[2], sizes.segment):
        last = max(0, start - sizes.memory)
        first = max(0, last - sizes.size)
        rows = query[:, :, start : start + sizes.segment]
        found.append(_listed(rows, key[:, :, first:last], sizes.k, first))
    memories = torch.cat(found, 2)
    return _joined(near, _to_memories(query, key.detach(), value.detach(), memories), gate)


def step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    state: RetrievalState,
    sizes: RetrievalSizes,
    gate: Tensor | None = None,
) -> tuple[Tensor, RetrievalState]:
    """Attend from the next positions, of any number.

    Args:
        query: (B, H, n, D).
        key: (B, Hkv, n, D).
        value: (B, Hkv, n, Dv).
        state: What the last step returned; RetrievalState.empty() at the beginning.
        sizes: What is kept and seen; the same at each step.
        gate: As in memorizing_attention.

    Returns:
        out (B, H, n, Dv), and the next state.

    Raises:
        ParameterError: Sizes don't fit together.
        ShapeError: There isn't one gate for each head.
    """
    sizes.recent()
    causal, outs = attncc.load("causal"), []
    for (q, k, v), ends in pieces((query, key, value), state.position, sizes.segment):
        keys, values = torch.cat([state.key, k], 2), torch.cat([state.value, v], 2)
        offset = state.key.shape[2]
        near = attended(q, keys, values, causal, q_offset=offset)
        memories = _listed(q, state.old_key, sizes.k)
        outs.append(_joined(near, _to_memories(q, state.old_key, state.old_value, memories), gate))
        state = replace(state, key=keys, value=values, position=state.position + k.shape[2])
        state = _aged(state, sizes) if ends else state
    return joined(outs, query, value), state


def _listed(query: Tensor, key: Tensor, k: int, first: int = 0) -> Tensor:
    """Return the k nearest keys of each query, numbered from `first`, (B, H, n, k); -1 stands for those that lack."""
    count = min(k, key.shape[2])
    if not count:
        return torch.full((*query.shape[:3], k), -1, device=query.device)
    return pad(nearest(query, key, count) + first, (0, k - count), value=-1)


def _to_memories(query: Tensor, key: Tensor, value: Tensor, memories: Tensor) -> Part:
    """Return (out, lse) of attention to the listed memories (B, H, Nq, k)."""
    return attended(query, key, value, attncc.load("retrieved", memories=memories))


def _joined(local: Part, memory: Part, gate: Tensor | None) -> Tensor:
    return attncc.merge(local, memory)[0] if gate is None else gated(local, memory, gate)


def _aged(state: RetrievalState, sizes: RetrievalSizes) -> RetrievalState:
    """Return the state at the end of a segment: what is no longer local is a memory."""
    n = max(0, state.key.shape[2] - sizes.memory)
    old_key = torch.cat([state.old_key, state.key[:, :, :n].detach()], 2)[:, :, -sizes.size :]
    old_value = torch.cat([state.old_value, state.value[:, :, :n].detach()], 2)[:, :, -sizes.size :]
    return replace(state, key=state.key[:, :, n:], value=state.value[:, :, n:], old_key=old_key, old_value=old_value)
