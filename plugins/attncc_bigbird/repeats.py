"""Transformers' BigBird: blocks that its softmax counts several times.

Its random blocks may be in the window or global, and in `eval()` all of them are block 0. A key that is gathered m
times has m terms in the softmax, which is log(m) added to its score.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

import attncc
from attncc import Bounds, Index, Real, Weights
from attncc_bigbird.blocks import Array, itc


@attncc.score
def repeated(
    score: Real, i: Index, j: Index, h: Index, *, log_repeats: Weights, block: Annotated[int, Bounds(minimum=1)] = 64
) -> Real:
    """The score plus the logarithm of how often the key's block counts.

    Args:
        log_repeats: (H, blocks, blocks), see `log_repeats`.
        block: Tokens of a block.
    """
    return score + log_repeats[h, i // block, j // block]


def log_repeats(n: int, random: Array, *, block: int = 64) -> Tensor:
    """Return the logarithm of how often each block of keys counts for each block of queries; 0 where it isn't seen.

    Args:
        n: Tokens, N, a multiple of `block`.
        random: (H, blocks - 2, R), the random blocks of all but the first and the last block of queries, as
            Transformers' `rand_attn` has them: zeros in `eval()`.
        block: Tokens of a block.

    Returns:
        (H, blocks, blocks), float64.
    """
    blocks, rows = n // block, inner(random)
    once = itc(n, block=block, random=np.zeros((blocks, 0), np.int64))["blocks"].data
    counts = np.zeros((len(rows), blocks, blocks + 1), np.int64)  # the last column is of entries that are none
    np.put_along_axis(counts, np.broadcast_to(once, (len(rows), *once.shape)), 1, -1)
    for entries in np.moveaxis(rows, -1, 0):
        head, row = np.indices(entries.shape)
        np.add.at(counts, (head, row, entries), 1)
    return torch.from_numpy(np.log(np.maximum(counts[..., :-1], 1)))


def inner(random: Array) -> Array:
    """Return Transformers' random blocks, (H, blocks - 2, R), for all blocks, (H, blocks, R): what `itc` takes."""
    return np.pad(np.asarray(random, np.int64), ((0, 0), (1, 1), (0, 0)), constant_values=-1)
