"""Packed documents on a CPU: attention compared with a loop over documents, and planning of documents that are new."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from test_attention import forward, forward_backward, in_turns, spread
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

import attncc
from attncc.measure.timing import Timing, elapsed

TOKENS, DOCUMENTS, HEADS, HEAD_DIM = 65536, 64, 4, 64
pytestmark = pytest.mark.timeout(1200)
PATTERNS = {
    "causal": attncc.load("causal"),
    "256-window": attncc.load("sliding_window", window=256),
    "strided l=128": attncc.load("strided", l=128),
}
WAYS = {"forward": forward, "forward and backward": forward_backward}


def ends_of(lengths: Tensor) -> Tensor:
    return pad(lengths.cumsum(0), (1, 0))


def unequal(seed: int) -> Tensor:
    """Return lengths of documents around 1,024 that add up to TOKENS."""
    drawn = torch.rand(DOCUMENTS, generator=torch.Generator().manual_seed(seed)) + 0.2
    lengths = (drawn * TOKENS / drawn.sum()).long()
    lengths[-1] += TOKENS - lengths.sum()
    return lengths


LENGTHS = {"64 documents of 1,024": torch.full((DOCUMENTS,), TOKENS // DOCUMENTS), "64 unequal documents": unequal(0)}


def tensors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(TOKENS, HEADS, HEAD_DIM, generator=generator) for _ in range(3)]


def by_document(q: Tensor, k: Tensor, v: Tensor, *, lengths: list[int]) -> Tensor:
    """Return dense causal attention in a loop over documents."""
    parts = zip(*(x.transpose(0, 1).unsqueeze(0).split(lengths, 2) for x in (q, k, v)), strict=True)
    outs = [scaled_dot_product_attention(*part, is_causal=True) for part in parts]
    return torch.cat(outs, 2).squeeze(0).transpose(0, 1)


@pytest.mark.parametrize("what", LENGTHS)
@pytest.mark.parametrize("name", ["causal", "256-window"])
@pytest.mark.parametrize("way", WAYS)
def test_packed_documents_are_as_fast_as_a_loop(benchmark, bar, what: str, name: str, way: str) -> None:
    lengths, inputs, timed = LENGTHS[what], tensors(), WAYS[way]
    run = partial(attncc.varlen_attention, cu_seqlens_q=ends_of(lengths), cu_seqlens_k=None, pattern=PATTERNS[name])
    loop = partial(by_document, lengths=lengths.tolist())
    ours, theirs = in_turns(benchmark, timed(run, inputs), timed(loop, inputs), rounds=3)
    ratio, said = theirs.median / ours.median, f"{what}, {name}, {way}, H=4, against a loop of dense causal"
    bar(said, ratio, "at least 0.8 x", spread(ours, theirs))


@pytest.mark.parametrize("name", PATTERNS)
def test_new_documents_are_planned_in_milliseconds(benchmark, bar, name: str) -> None:
    taken: list[float] = []

    def planned(lengths: Tensor) -> None:
        packed = attncc.Documents(ends_of(lengths)).pattern(PATTERNS[name])
        assert attncc.plan(packed, TOKENS).groups[0].passes

    planned(unequal(0))
    seeds = iter(range(1, 100))
    benchmark.pedantic(
        lambda: taken.append(elapsed(partial(planned, unequal(next(seeds))), torch.device("cpu"))), rounds=7
    )
    found = Timing(tuple(taken))
    what = f"64 new documents of 65,536 tokens, {name}: the packed pattern and its plan"
    bar(what, 1e3 * found.median, "at most 250 ms", f"{found.spread:.0%}")
