"""Contestants: an attention of attncc and of its peers, each as its own library has it, at any length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import attncc

from .modules import without_projections

HEADS, HEAD_DIM = 2, 64
#: Keys of the causal window and of Longformer's symmetric one, and tokens of BigBird's blocks and Reformer's chunks.
WINDOW, SYMMETRIC, BLOCK = 256, 512, 64
#: Hashes of Reformer, and random blocks of BigBird.
ROUNDS, RANDOM = 2, 3

#: Called with the leaves; returns the output.
Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Contestant:
    """An attention that is measured.

    Attributes:
        task: What is computed, one of TASKS.
        name: Whose it is.
        says: What else there is to know of it.
        shapes: Those of its leaves for a length.
        prepare: Makes what it needs for a length before the first call, such as a mask, and returns a call.
        is_trained: Whether it has a backward on a CPU.
    """

    task: str
    name: str
    says: str
    shapes: Callable[[int], Sequence[tuple[int, ...]]]
    prepare: Callable[[int], Run]
    is_trained: bool = True

    def leaves(self, length: int) -> list[Tensor]:
        """Return query, key and value, or what the library takes in their place, in fp32."""
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(shape, generator=generator).requires_grad_() for shape in self.shapes(length)]


def _by_head(length: int) -> list[tuple[int, ...]]:
    return [(1, HEADS, length, HEAD_DIM)] * 3


def _joined(length: int) -> list[tuple[int, ...]]:
    return [(1, length, HEADS * HEAD_DIM)] * 3


def _shared(length: int) -> list[tuple[int, ...]]:
    return [(HEADS, length, HEAD_DIM)] * 2


def _pattern(make: Callable[[int], attncc.Pattern]) -> Callable[[int], Run]:
    """Return how a pattern is prepared: planned and lowered for the length."""

    def prepare(length: int) -> Run:
        pattern = make(length)
        return attncc.compile(pattern, length, heads=HEADS)

    return prepare


def _dense(length: int) -> Run:
    return partial(scaled_dot_product_attention, is_causal=True)


def _masked(length: int) -> Run:
    gap = torch.arange(length)[:, None] - torch.arange(length)
    return partial(scaled_dot_product_attention, attn_mask=(gap >= 0) & (gap < WINDOW))


def _flex(length: int, *, compiles: bool) -> Run:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    mask = create_block_mask(_inside, None, None, length, length, device="cpu", _compile=compiles)
    return partial(torch.compile(flex_attention) if compiles else flex_attention, block_mask=mask)


def _inside(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (k <= q) & (q - k < WINDOW)


def _local(length: int) -> Run:
    from local_attention import LocalAttention

    module = LocalAttention(
        window_size=WINDOW, causal=True, look_backward=1, exact_windowsize=True, use_rotary_pos_emb=False
    )

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = module(query, key, value)
        return out

    return run


def _longformer(length: int) -> Run:
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    config = LongformerConfig(
        hidden_size=HEADS * HEAD_DIM,
        num_attention_heads=HEADS,
        attention_window=[SYMMETRIC],
        attention_probs_dropout_prob=0.0,
    )
    module, mask = LongformerSelfAttention(config, 0), torch.zeros(1, length)
    flags = {"is_index_masked": mask < 0, "is_index_global_attn": mask > 0, "is_global_attn": False}

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        given = {"query": query.transpose(0, 1).clone(), "key": key.transpose(0, 1), "value": value.transpose(0, 1)}
        without_projections(module, given)  # it divides queries in place
        out: Tensor = module(value, mask, **flags)[0]
        return out

    return run


def _bigbird(length: int) -> Run:
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    config = BigBirdConfig(
        hidden_size=HEADS * HEAD_DIM,
        num_attention_heads=HEADS,
        block_size=BLOCK,
        num_random_blocks=RANDOM,
        max_position_embeddings=length,
    )
    module = BigBirdBlockSparseAttention(config, seed=0).train()
    blocked, band, rows, keys = BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, length), BLOCK)

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        without_projections(module, {"query": query, "key": key, "value": value})
        out: Tensor = module(value, band, rows, keys, blocked, blocked)[0]
        return out

    return run


def _reformer(length: int) -> Run:
    from reformer_pytorch import LSHAttention

    module = LSHAttention(bucket_size=BLOCK, n_hashes=ROUNDS, causal=True)

    def run(qk: Tensor, value: Tensor) -> Tensor:
        out: Tensor = module(qk, value)[0]
        return out

    return run


def _hashed(length: int) -> Run:
    from attncc_reformer.attention import lsh_attention

    def run(qk: Tensor, value: Tensor) -> Tensor:
        options = {"rounds": ROUNDS, "buckets": length // BLOCK, "chunk": BLOCK, "causal": True}
        return lsh_attention(qk[:, None], value[:, None], **options)[:, 0]

    return run


def _chosen(length: int) -> attncc.Pattern:
    from attncc_bigbird.blocks import itc

    return attncc.load("bigbird", **itc(length, block=BLOCK, random=RANDOM, heads=HEADS))


TASKS = {
    "window": f"a causal window of {WINDOW} keys",
    "Longformer": f"a symmetric window of {SYMMETRIC} keys",
    "BigBird": f"blocks of {BLOCK}: window, {RANDOM} random and 2 global ones",
    "Reformer": f"{ROUNDS} rounds of hashing, chunks of {BLOCK}, causal",
}

#: The first of each task is attncc's.
CONTESTANTS = (
    Contestant("window", "attncc", "", _by_head, _pattern(lambda n: attncc.load("sliding_window", window=WINDOW))),
    Contestant("window", "dense SDPA", "causal, all keys before", _by_head, _dense),
    Contestant("window", "SDPA with a mask", "", _by_head, _masked),
    Contestant("window", "FlexAttention, eager", "no backward", _by_head, partial(_flex, compiles=False), False),
    Contestant("window", "FlexAttention, compiled", "no backward", _by_head, partial(_flex, compiles=True), False),
    Contestant("window", "local-attention", "a window of 257", _by_head, _local),
    Contestant(
        "Longformer", "attncc", "", _by_head, _pattern(lambda n: attncc.load("symmetric_window", window=SYMMETRIC))
    ),
    Contestant("Longformer", "Transformers", "projections apart", _joined, _longformer),
    Contestant("BigBird", "attncc", "", _by_head, _pattern(_chosen)),
    Contestant("BigBird", "Transformers", "in train mode, projections apart", _joined, _bigbird),
    Contestant("Reformer", "attncc", "", _shared, _hashed),
    Contestant("Reformer", "reformer-pytorch", "", _shared, _reformer),
)


def contestant(task: str, name: str) -> Contestant:
    """Return one by its task and name."""
    return next(each for each in CONTESTANTS if (each.task, each.name) == (task, name))
