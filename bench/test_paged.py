"""A paged cache on a CPU: decoding from pages beside a contiguous cache, and beside all pages gathered by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from test_attention import in_turns, spread
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc.measure.timing import elapsed

BATCH, HEADS, HEAD_DIM, KEYS, SIZE = 4, 8, 64, 4096, 16
LENGTHS = [KEYS - 7 * b for b in range(BATCH)]
WHAT = "decode from pages of 16, 4 sequences of about 4,096 keys"
PATTERNS = {
    "causal": attncc.load("causal"),
    "256-window": attncc.load("sliding_window", window=256),
    "strided l=64": attncc.load("strided", l=64).union(),
}
#: Least ratios: of the time by hand to that from pages, and of that without pages to it.
BY_HAND = {"causal": 0.6, "256-window": 3, "strided l=64": 3}
CONTIGUOUS = {"causal": 0.1, "256-window": 0.15, "strided l=64": 0.4}


def pool() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries, pools of keys and of values, and a page table in no order."""
    generator, pages = torch.Generator().manual_seed(0), BATCH * KEYS // SIZE
    keys, values = torch.randn(2, pages, SIZE, HEADS, HEAD_DIM, generator=generator).unbind()
    table = torch.randperm(pages, generator=generator).view(BATCH, -1)
    return torch.randn(BATCH, 1, HEADS, HEAD_DIM, generator=generator), keys, values, table


def gathered(x: Tensor, pages: Tensor, n: int) -> Tensor:
    """Return the rows of a sequence, (1, H, n, D)."""
    rows = (pages[:, None] * SIZE + torch.arange(SIZE)).flatten()[:n]
    return x.flatten(0, 1).index_select(0, rows).transpose(0, 1)[None]


def by_hand(q: Tensor, keys: Tensor, values: Tensor, table: Tensor) -> Tensor:
    """Return dense attention over all keys of each sequence, in a loop."""
    outs = [
        scaled_dot_product_attention(
            q[b : b + 1].transpose(1, 2), gathered(keys, table[b], n), gathered(values, table[b], n)
        )
        for b, n in enumerate(LENGTHS)
    ]
    return torch.cat(outs).transpose(1, 2)


def timed(run: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], float]:
    return torch.inference_mode()(partial(elapsed, partial(run, *inputs), torch.device("cpu")))


@pytest.mark.parametrize("name", PATTERNS)
def test_pages_cost_little(benchmark, bar, name: str) -> None:
    pattern, (q, keys, values, table) = PATTERNS[name], pool()
    whole = (torch.cat([gathered(x, pages, KEYS) for pages in table]).contiguous() for x in (keys, values))
    key, value = whole
    paged = partial(attncc.paged_attention, block_table=table, cache_seqlens=LENGTHS, pattern=pattern)
    offsets = [n - 1 for n in LENGTHS]
    contiguous = partial(attncc.attention, pattern=pattern, q_offset=offsets, kv_len=LENGTHS)
    ours = timed(paged, q, keys, values)
    first, theirs = in_turns(benchmark, ours, timed(contiguous, q.transpose(1, 2), key, value), rounds=15)
    rule = f"at least {CONTIGUOUS[name]} x"
    bar(f"{WHAT}, {name}, against a contiguous cache", theirs.median / first.median, rule, spread(first, theirs))


@pytest.mark.parametrize("name", PATTERNS)
def test_only_keys_that_are_seen_are_copied(benchmark, bar, name: str) -> None:
    q, keys, values, table = pool()
    paged = partial(attncc.paged_attention, block_table=table, cache_seqlens=LENGTHS, pattern=PATTERNS[name])
    contestants = timed(paged, q, keys, values), timed(by_hand, q, keys, values, table)
    ours, theirs = in_turns(benchmark, *contestants, rounds=15)
    said = f"{WHAT}, {name}, against all pages gathered by hand and dense attention"
    bar(said, theirs.median / ours.median, f"at least {BY_HAND[name]} x", spread(ours, theirs))
