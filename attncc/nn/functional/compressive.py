"""Compressive Transformers (Rae et al. 2020): a memory of positions, and of compressed ones before them.

A query sees the compressed memory, the memory and its own segment up to itself, in one softmax. `compressive_attention`
computes a whole sequence at once, without a state; `step` goes along it, cut anywhere. They are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from attncc.frontend.catalog import load
from attncc.frontend.patterns import Pattern
from attncc.nn.functional.compression import Compression, attention_received, reconstruction_loss
from attncc.nn.functional.parts import attended, blocks, joined, pieces, wide
from attncc.nn.functional.state import MemoryState
from attncc.runtime.merging import merge


@dataclass(frozen=True)
class MemorySizes:
    """How much is kept.

    Attributes:
        segment: Positions after which memories grow old; a multiple of `ratio`.
        memory: Positions before the segment that are kept as they are; a multiple of `segment`, or 0.
        compressed: Compressed memories.
        ratio: Positions for each of them.
    """

    segment: int
    memory: int
    compressed: int
    ratio: int

    @cached_property
    def recent(self) -> Pattern:
        """Who sees which positions."""
        return load("segment_memory", segment=self.segment, memory=self.memory)

    @cached_property
    def old(self) -> Pattern:
        """Who sees which compressed memories; raises ParameterError for sizes that don't fit together."""
        sizes = {"segment": self.segment, "memory": self.memory, "compressed": self.compressed, "ratio": self.ratio}
        return load("compressed_memory", **sizes)

    def check(self) -> None:
        """Make both patterns, which torch.compile can't trace; raises ParameterError."""
        _ = self.recent, self.old


@dataclass(frozen=True)
class CompressiveState(MemoryState):
    """What a step returns for the next one.

    Attributes:
        key: Of the memory and of the segment so far, (B, Hkv, m, D).
        value: (B, Hkv, m, Dv).
        old_key: Compressed, (B, Hkv, c, D).
        old_value: (B, Hkv, c, Dv).
        usage: The attention that each of m positions got among these so far, (B, Hkv, m); None: it isn't counted.
        position: Positions so far.
    """

    key: Tensor
    value: Tensor
    old_key: Tensor
    old_value: Tensor
    usage: Tensor | None
    position: int

    @classmethod
    def empty(cls, key: Tensor, value: Tensor, *, counts_usage: bool = False) -> CompressiveState:
        """Return the state before the first position.

        Args:
            key: Any (B, Hkv, n, D), for its sizes.
            value: Any (B, Hkv, n, Dv).
            counts_usage: Whether the attention that memories get is counted, as `most_used` needs.
        """
        key, value = key[:, :, :0], value[:, :, :0]
        return cls(key, value, key, value, wide(key[..., 0].detach()) if counts_usage else None, 0)


def compressive_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sizes: MemorySizes,
    compression: Compression,
    *,
    counts_usage: bool = False,
) -> Tensor:
    """Return attention of a whole sequence to its memories, all segments at once.

    Args:
        query: (B, H, N, D).
        key: (B, Hkv, N, D).
        value: (B, Hkv, N, Dv).
        sizes: What is kept.
        compression: What a segment becomes when it leaves the memory.
        counts_usage: Whether `compression` is told how much attention memories got.

    Returns:
        (B, H, N, Dv).

    Raises:
        ParameterError: Sizes don't fit together.
    """
    recent, old = sizes.recent, sizes.old
    near = attended(query, key, value, recent)
    new = _compressed(query, key, value, sizes, compression, counts_usage)
    return merge(near, attended(query, new[0].flatten(2, 3), new[1].flatten(2, 3), old))[0]


def compression_loss(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sizes: MemorySizes,
    compression: Compression,
    *,
    counts_usage: bool = False,
) -> Tensor:
    """Return the attention-reconstruction loss of a whole sequence (Rae et al. 2020, algorithm 2), for a compression.

    It is the mean over the segments that leave the memory of how far attention to their compressed memories is from
    that to themselves, for the queries of the segment at whose end they leave. It trains the compression alone.

    Args:
        query: As compressive_attention takes it, and so are the others.

    Returns:
        The mean of squares, (); 0 if no segment leaves the memory.

    Raises:
        ParameterError: Sizes don't fit together.
    """
    sizes.check()
    query, key, value = query.detach(), key.detach(), value.detach()
    ahead, size = sizes.memory // sizes.segment, sizes.segment
    leaving = key.shape[2] // size - ahead
    if leaving <= 0:
        return wide(query.new_zeros(()))
    new = _compressed(query, key, value, sizes, compression, counts_usage)
    given = blocks(query, size)[:, :, ahead:], blocks(key, size), blocks(value, size), *new
    queries, *memories = (x[:, :, :leaving].transpose(1, 2).flatten(0, 1) for x in given)  # a segment a batch entry
    return reconstruction_loss(queries, (memories[0], memories[1]), (memories[2], memories[3]))


def _compressed(
    query: Tensor, key: Tensor, value: Tensor, sizes: MemorySizes, compression: Compression, counts_usage: bool
) -> tuple[Tensor, Tensor]:
    """Return the compressed memories of each whole segment, (B, Hkv, segments, L / ratio, D) and the same of Dv."""
    whole, size = key.shape[2] // sizes.segment * sizes.segment, sizes.segment
    used = None
    if counts_usage:
        received = attention_received(query, key, sizes.recent)[:, :, :whole]
        used = _average(received.reshape(*received.shape[:2], whole // size, size), sizes)
    return compression(blocks(key[:, :, :whole], size), blocks(value[:, :, :whole], size), used, sizes.ratio)


def step(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    state: CompressiveState,
    sizes: MemorySizes,
    compression: Compression,
) -> tuple[Tensor, CompressiveState]:
    """Attend from the next positions, of any number, to what is kept and to themselves.

    Args:
        query: (B, H, n, D).
        key: (B, Hkv, n, D).
        value: (B, Hkv, n, Dv).
        state: What the last step returned; CompressiveState.empty() at the beginning.
        sizes: What is kept; the same at each step.
        compression: What a segment becomes when it leaves the memory.

    Returns:
        out (B, H, n, Dv), and the next state.

    Raises:
        ParameterError: Sizes don't fit together.
    """
    sizes.check()
    outs = []
    for (q, k, v), ends in pieces((query, key, value), state.position, sizes.segment):
        state = _extended(state, q, k, v)
        outs.append(_attended(q, state))
        state = _aged(state, sizes, compression) if ends else state
    return joined(outs, query, value), state


def _extended(state: CompressiveState, query: Tensor, key: Tensor, value: Tensor) -> CompressiveState:
    """Return the state with the positions of a piece, and with the attention that it gives."""
    keys, values = torch.cat([state.key, key], 2), torch.cat([state.value, value], 2)
    usage, n = state.usage, key.shape[2]
    if usage is not None:
        given = attention_received(query, keys, load("causal"), q_offset=keys.shape[2] - n)
        usage = torch.nn.functional.pad(usage, (0, n)) + given
    return replace(state, key=keys, value=values, usage=usage, position=state.position + n)


def _attended(query: Tensor, state: CompressiveState) -> Tensor:
    """Return attention of the last positions of a state to all that it keeps."""
    offset = state.key.shape[2] - query.shape[2]
    causal, full = load("causal"), load("full")
    near = attended(query, state.key, state.value, causal, q_offset=offset)
    return merge(near, attended(query, state.old_key, state.old_value, full))[0]


def _aged(state: CompressiveState, sizes: MemorySizes, compression: Compression) -> CompressiveState:
    """Return the state at the end of a segment: the oldest segment is compressed if the memory is full."""
    if state.key.shape[2] <= sizes.memory:
        return state
    n = sizes.segment
    used = None if state.usage is None else _average(state.usage[:, :, :n], sizes)
    new = compression(state.key[:, :, :n], state.value[:, :, :n], used, sizes.ratio)
    pairs = zip((state.old_key, state.old_value), new, strict=True)
    old_key, old_value = (torch.cat(pair, 2)[:, :, -sizes.compressed :] for pair in pairs)
    return replace(
        state,
        key=state.key[:, :, n:],
        value=state.value[:, :, n:],
        old_key=old_key,
        old_value=old_value,
        usage=None if state.usage is None else state.usage[:, :, n:],
    )


def _average(usage: Tensor, sizes: MemorySizes) -> Tensor:
    """Return the attention of a segment's positions (..., segment) over the number of queries that saw each."""
    seen_by = sizes.memory + sizes.segment - torch.arange(sizes.segment, device=usage.device)
    return usage / seen_by
