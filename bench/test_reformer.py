"""Reformer on a CPU: against reformer-pytorch, by length, and the tiles of its chunks."""

from __future__ import annotations

import statistics
from functools import partial
from time import process_time

import pytest
import torch
from test_attention import forward, forward_backward, in_turns, spread
from torch import Tensor

import attncc
from attncc.measure.timing import Timing
from attncc_reformer import lsh_chunks
from attncc_reformer.attention import lsh_attention
from attncc_reformer.hashing import hashed, rotations, sorted_chunks

CHUNK, HEAD_DIM = 64, 64
BATCH, LENGTH, ROUNDS = 8, 4096, 2


def tensors(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, HEAD_DIM, generator=generator) for _ in range(2)]


def ours(qk: Tensor, value: Tensor) -> Tensor:
    buckets = LENGTH // CHUNK
    return lsh_attention(qk[:, None], value[:, None], rounds=ROUNDS, buckets=buckets, chunk=CHUNK, causal=True)[:, 0]


@pytest.mark.parametrize("measured", [forward, forward_backward], ids=["forward", "forward and backward"])
def test_attention_is_faster_than_reformer_pytorch(measured, benchmark, bar, request: pytest.FixtureRequest) -> None:
    peer = pytest.importorskip("reformer_pytorch").LSHAttention(bucket_size=CHUNK, n_hashes=ROUNDS, causal=True)
    inputs = tensors(BATCH, LENGTH)
    own, theirs = in_turns(
        benchmark, measured(ours, inputs), measured(lambda qk, value: peer(qk, value)[0], inputs), rounds=7
    )
    what = f"Reformer B = 8, N = 4,096, 2 rounds, causal, {request.node.callspec.id}, against reformer-pytorch"
    bar(what, theirs.median / own.median, "at least 2 x", spread(own, theirs))


def test_time_grows_little_faster_than_length(benchmark, bar) -> None:
    run = partial(lsh_attention, rounds=4, chunk=CHUNK)
    short, long = tensors(1, 1, 1 << 14), tensors(1, 1, 1 << 16)
    pairs: list[tuple[float, float]] = []

    def seconds(inputs: list[Tensor]) -> float:
        """Return the seconds of processors: other work of the machine would lengthen the long call more."""
        before = process_time()
        run(*inputs)
        return process_time() - before

    def one() -> None:
        pairs.append((seconds(short), seconds(long)))

    one()
    benchmark.pedantic(one, rounds=7)
    ratio = statistics.median(longer / shorter for shorter, longer in pairs[1:])
    times = Timing(tuple(longer for _, longer in pairs[1:]))
    bar("LSH, 4 rounds, chunks of 64: N = 65,536 over N = 16,384", ratio, "at most 4.8 x", f"{times.spread:.0%}")


def test_tiles_of_chunks_are_little_larger_than_what_they_hold(bar) -> None:
    [buckets] = hashed(tensors(LENGTH)[0], rotations(HEAD_DIM, LENGTH // CHUNK, 1))
    plan = attncc.plan(lsh_chunks(chunks=sorted_chunks(buckets, CHUNK), count=LENGTH // CHUNK), LENGTH)
    visited = sum(work.tiles.visited for work in plan.all_passes())
    bar(
        "LSH chunks of 64 among 4,096, own and previous: area visited over the pairs", visited / plan.nnz, "at most 3 x"
    )
