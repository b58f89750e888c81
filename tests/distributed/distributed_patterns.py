"""Patterns at any length for tests of partitioned schedules."""

from __future__ import annotations

import numpy as np

import attncc
from attncc import Condition, Index, Pattern, Table


@attncc.pattern
def window_and_globals(i: Index, j: Index, *, w: int, g: int) -> Condition:
    """A window in both directions; the first g tokens see all and are seen by all (Beltagy et al. 2020)."""
    return (abs(i - j) < w) | (i < g) | (j < g)


@attncc.pattern
def chosen_blocks(i: Index, j: Index, *, chosen: Table, size: int) -> Condition:
    """Blocks of `size` keys that a table chooses for each block of queries (Zaheer et al. 2020)."""
    return chosen[i // size, j // size] == 1


def document_numbers(length: int, documents: int, seed: int = 0) -> np.ndarray:
    """Return the number of each token's document, ascending, of random lengths."""
    inner = np.random.default_rng(seed).choice(np.arange(1, length), documents - 1, replace=False)
    return np.searchsorted(np.sort(inner), np.arange(length), side="right")


def random_blocks(length: int, size: int, each: int = 3, seed: int = 0) -> Pattern:
    """Return random blocks, and its own one, for each block of queries."""
    blocks = -(-length // size)
    chosen = np.eye(blocks, dtype=np.int64)
    chosen[np.repeat(np.arange(blocks), each), np.random.default_rng(seed).integers(0, blocks, blocks * each)] = 1
    return chosen_blocks(chosen=chosen, size=size)


def patterns(length: int) -> dict[str, Pattern]:
    """Return the nine patterns; windows and blocks grow with the length."""
    window, stride = max(2, min(256, length // 8)), max(2, round(length**0.5))
    sliding, strided = attncc.load("sliding_window", window=window), attncc.load("strided", l=stride).union()
    return {
        "causal": attncc.load("causal"),
        "window": sliding,
        "strided": strided,
        "fixed": attncc.load("fixed", l=stride, c=max(1, stride // 4)).union(),
        "globals": window_and_globals(w=window, g=max(1, length // 64)),
        "random": random_blocks(length, max(2, length // 32)),
        "documents": attncc.load("document", ids=document_numbers(length, max(2, length // 40))).causal(),
        "buckets": attncc.load("document", ids=np.random.default_rng(1).integers(0, 7, length)),
        "mix": attncc.per_head([sliding, strided]),
    }
