"""Every family of the catalogue by representative patterns, at any length that is a power of two from 512."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import attncc
from attncc_bigbird.blocks import itc
from attncc_longformer.roles import token_roles

#: Tokens of a block, and of a chunk of hashed tokens.
BLOCK = 64


@dataclass(frozen=True)
class Entry:
    """A representative pattern.

    Attributes:
        family: Its plugin.
        name: Its name in the catalogue.
        says: Its parameters, in words.
        make: The pattern for a length.
    """

    family: str
    name: str
    says: str
    make: Callable[[int], attncc.Pattern]


def entries() -> Iterator[Entry]:
    """Yield the patterns, family by family."""
    yield Entry("basic", "causal", "", lambda n: attncc.load("causal"))
    yield Entry(
        "basic", "sliding_window", "4,096 keys", lambda n: attncc.load("sliding_window", window=_at_most(4096, n))
    )
    yield Entry("basic", "document", "documents of 4,096 tokens on average, causal", _documents)
    yield Entry(
        "sparse_transformer", "strided", "l = √N, union", lambda n: attncc.load("strided", l=math.isqrt(n)).union()
    )
    yield Entry("sparse_transformer", "fixed", "l = √N, c = l / 8, union", _fixed)
    yield Entry("longformer", "longformer", "window 512, the first 64 tokens global", _longformer)
    yield Entry(
        "bigbird", "bigbird", "blocks of 64: 3 near, 3 random, 2 global", lambda n: attncc.load("bigbird", **itc(n))
    )
    yield Entry("reformer", "lsh_chunks", "one round, chunks of 64 tokens in random order", _hashed)
    yield Entry("transformer_xl", "segment_memory", "segments and memory of 2,048", _segments)
    yield Entry("memory", "retrieved", "8 earlier keys of each block of 64 queries", _retrieved)
    yield Entry("memory", "compressed_memory", "segments, memory and compressed keys of 2,048, ratio 4", _compressed)
    yield Entry("low_rank", "pooled", "a key for 64 positions", lambda n: attncc.load("pooled", ratio=BLOCK))
    yield Entry("selected", "selected_blocks", "16 earlier blocks of 64 for each block of 64 queries", _selected)
    yield Entry("neighborhood", "neighborhood_2d", "an image, 13 x 13", _image)
    yield Entry("neighborhood", "sliding_tiles", "a video, 3 x 3 x 3 tiles of 4 x 8 x 8", _video)
    yield Entry("serving", "chunked", "chunks of 8,192", lambda n: attncc.load("chunked", chunk=_at_most(8192, n)))
    yield Entry("serving", "sink_window", "4,096 keys and the first 4", _sinks)


def _at_most(value: int, length: int) -> int:
    """Return what is meant for long sequences, or an eighth of a short one."""
    return min(value, length // 8)


def _documents(length: int) -> attncc.Pattern:
    count = max(4, length // 4096)
    ends = np.random.default_rng(0).choice(np.arange(1, length), count - 1, replace=False)
    return attncc.load("document", ids=np.searchsorted(np.sort(ends), np.arange(length), side="right")).causal()


def _fixed(length: int) -> attncc.Pattern:
    return attncc.load("fixed", l=math.isqrt(length), c=max(1, math.isqrt(length) // 8)).union()


def _longformer(length: int) -> attncc.Pattern:
    roles = token_roles(length, [range(_at_most(64, length))])
    return attncc.load("longformer", roles=roles, window=_at_most(512, length))


def _hashed(length: int) -> attncc.Pattern:
    chunks = np.random.default_rng(0).permutation(length) // BLOCK
    return attncc.load("lsh_chunks", chunks=chunks, count=length // BLOCK)


def _segments(length: int) -> attncc.Pattern:
    size = _at_most(2048, length)
    return attncc.load("segment_memory", segment=size, memory=size)


def _retrieved(length: int) -> attncc.Pattern:
    """A list for each query, as the pattern has it: those of a block of queries are equal, and earlier than it."""
    first = np.arange(0, length, BLOCK)
    drawn = np.random.default_rng(0).random((len(first), 8)) * first[:, None]
    lists = np.where(first[:, None] > 0, drawn.astype(np.int64), -1)
    return attncc.load("retrieved", memories=attncc.Lists(np.repeat(lists, BLOCK, 0)))


def _compressed(length: int) -> attncc.Pattern:
    size = _at_most(2048, length)
    return attncc.load("compressed_memory", segment=size, memory=size, compressed=size, ratio=4)


def _selected(length: int) -> attncc.Pattern:
    row = np.arange(length // BLOCK)
    drawn = (np.random.default_rng(0).random((len(row), 16)) * (row[:, None] + 1)).astype(np.int64)
    drawn[:, 0] = row
    return attncc.load("selected_blocks", blocks=attncc.Lists(drawn), block=BLOCK, queries=BLOCK)


def _image(length: int) -> attncc.Pattern:
    height = 1 << (length.bit_length() - 1) // 2
    return attncc.load("neighborhood_2d", height=height, width=length // height, kernel_h=13, kernel_w=13)


def _video(length: int) -> attncc.Pattern:
    depth = 1 << (length.bit_length() - 1) // 3
    height = 1 << ((length // depth).bit_length() - 1) // 2
    grid = {"depth": depth, "height": height, "width": length // depth // height}
    kernel = {"kernel_d": 3, "kernel_h": 3, "kernel_w": 3}
    tile = {"tile_d": min(4, depth // 4), "tile_h": min(8, height // 4), "tile_w": min(8, height // 4)}
    return attncc.load("sliding_tiles", **grid, **kernel, **tile)


def _sinks(length: int) -> attncc.Pattern:
    return attncc.load("sink_window", window=_at_most(4096, length), sinks=4)
