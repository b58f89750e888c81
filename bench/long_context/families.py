"""The families as data: what each one's layer is, by its sizes, and the graph of who sees whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

import attncc
from attncc.nn import Attention, CompressiveMemory, InfiniAttention, LearnedCompression, MemorySizes, SegmentRecurrent
from attncc_bigbird.blocks import itc
from attncc_longformer import GLOBAL, LOCAL

from .layers import Hashed, Indexed

#: Pattern of a context, for families whose graph doesn't depend on data.
Graph = Callable[[int], attncc.Pattern]
#: (width, heads, context) -> a layer.
Layer = Callable[[int, int, int], nn.Module]


@dataclass(frozen=True)
class Family:
    """One way to attend.

    Attributes:
        sizes: In words, for the table.
        layers: Of a model, in turn from the first.
        graph: Which tokens one layer sees, by the context; None where data decide.
    """

    sizes: str
    layers: tuple[Layer, ...]
    graph: Graph | None = None


def patterned(sizes: str, graph: Graph) -> Family:
    """Return the family of a pattern that is known before the data are."""
    return Family(sizes, (partial(_attention, graph),), graph)


def _attention(graph: Graph, width: int, heads: int, context: int) -> nn.Module:
    seen = graph(context).union().causal()  # a later key could give away the targets
    return Attention(width, heads, seen, rotary=True)


def families(near: int) -> dict[str, Family]:
    """Return the families at such sizes that most of them see about `near` tokens around each one, and some far ones.

    Args:
        near: A power of two, at least 32: 128 for text.
    """
    block, half = near // 4, near // 2
    memory = MemorySizes(segment=half, memory=half, compressed=half, ratio=4)
    load = attncc.load
    window = patterned(f"the last {near}", lambda context: load("sliding_window", window=near))
    lsh = Family(f"2 rounds, chunks of {block}", (lambda w, h, context: Hashed(w, h, rounds=2, chunk=block),))
    return {
        "dense": patterned("all tokens before", lambda context: load("causal")),
        "window": window,
        "strided": patterned(f"l = {half}", lambda context: load("strided", l=half)),
        "fixed": patterned(f"l = {near}, c = {block // 4}", lambda context: load("fixed", l=near, c=block // 4)),
        "longformer": patterned(
            f"the last {half}, every {near}th token global", partial(_longformer, window=near, every=near)
        ),
        "bigbird": patterned(f"blocks of {block}: 2 near, 1 global, 2 random", partial(_bigbird, block=block)),
        "lsh": lsh,
        # as in the models that were released, such as google/reformer-crime-and-punishment
        "reformer": Family(f"window and lsh in turn: {window.sizes}; {lsh.sizes}", window.layers + lsh.layers),
        "transformer_xl": Family(
            f"segments of {half}, memory of {half}",
            (lambda w, h, context: SegmentRecurrent(w, h, segment=half, memory=half),),
            lambda context: load("segment_memory", segment=half, memory=half),
        ),
        "compressive": Family(
            f"segments of {half}, memory of {half}, {half} compressed by 4",
            (partial(_compressive, memory),),
            lambda context: load("segment_memory", segment=half, memory=half + half * 4),
        ),
        "infini": Family(
            f"segments of {near}", (lambda w, h, context: InfiniAttention(w, h, segment=near, rotary=True),)
        ),
        "indexed": Family(
            f"the {half} best, and the last {half}", (lambda w, h, context: Indexed(w, h, top=half, window=half),)
        ),
    }


def _compressive(sizes: MemorySizes, width: int, heads: int, context: int) -> nn.Module:
    learnt = LearnedCompression(width // heads, sizes.ratio)
    return CompressiveMemory(width, heads, sizes, compression=learnt, rotary=True)


def _longformer(context: int, window: int, every: int) -> attncc.Pattern:
    roles = torch.full((context,), LOCAL)
    roles[::every] = GLOBAL
    return attncc.load("longformer", roles=roles, window=window)


def _bigbird(context: int, block: int) -> attncc.Pattern:
    few = max(0, min(2, context // block - 3))
    return attncc.load("bigbird", **itc(context, block=block, random=few, global_blocks=(0,), causal=True))
