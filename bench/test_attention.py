"""Attention on a CPU, compared with dense attention and compiled FlexAttention, and at a million tokens."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc.measure.memory import peak
from attncc.measure.timing import Timing, elapsed

CPU = torch.device("cpu")
HEADS, HEAD_DIM = 8, 64
dense = partial(scaled_dot_product_attention, is_causal=True)


def tensors(length: int, heads: int = HEADS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, heads, length, HEAD_DIM, generator=generator) for _ in range(3)]


def forward(run: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], float]:
    """Return a call that runs forward and returns its seconds."""
    return lambda: elapsed(lambda: run(*inputs), CPU)


def forward_backward(run: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], float]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    grad = torch.ones_like(inputs[0])
    return lambda: elapsed(lambda: torch.autograd.grad(run(*leaves), leaves, grad), CPU)


def in_turns(benchmark, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> tuple[Timing, Timing]:
    """Time the contestants in turn; pytest-benchmark reports ours."""
    ours(), theirs()
    samples: tuple[list[float], list[float]] = ([], [])
    benchmark.pedantic(
        lambda: samples[0].append(ours()), setup=lambda: samples[1].append(theirs()), rounds=rounds, iterations=1
    )
    return Timing(tuple(samples[0])), Timing(tuple(samples[1]))


def spread(ours: Timing, theirs: Timing) -> str:
    return f"{ours.spread:.0%}, {theirs.spread:.0%}"


def test_strided_forward_is_faster_than_dense_attention(benchmark, bar) -> None:
    run = partial(attncc.attention, pattern=attncc.load("strided", l=128))
    inputs = tensors(32768)
    ours, theirs = in_turns(benchmark, forward(run, inputs), forward(dense, inputs), rounds=5)
    ratio = theirs.median / ours.median
    bar("strided l=128 forward, N = 32,768, against dense causal", ratio, "at least 20 x", spread(ours, theirs))


def test_strided_training_is_faster_than_dense_attention(benchmark, bar) -> None:
    run = partial(attncc.attention, pattern=attncc.load("strided", l=128))
    inputs = tensors(32768)
    ours, theirs = in_turns(benchmark, forward_backward(run, inputs), forward_backward(dense, inputs), rounds=3)
    ratio = theirs.median / ours.median
    bar("the same, forward and backward", ratio, "at least 15 x", spread(ours, theirs))


def test_window_is_as_fast_as_flex_attention(benchmark, bar) -> None:
    length = 8192
    inputs = tensors(length)
    mask = create_block_mask(lambda b, h, q, k: (k <= q) & (q - k < 256), None, None, length, length, device="cpu")
    compiled = torch.compile(flex_attention)
    run = partial(attncc.attention, pattern=attncc.load("sliding_window", window=256))
    with torch.no_grad():
        theirs_out = compiled(*inputs, block_mask=mask)
        torch.testing.assert_close(run(*inputs), theirs_out, rtol=1e-3, atol=1e-4)
        flex = partial(compiled, block_mask=mask)
        ours, theirs = in_turns(benchmark, forward(run, inputs), forward(flex, inputs), rounds=15)
    ratio = theirs.median / ours.median
    what = "256-window forward, N = 8,192, against compiled FlexAttention"
    bar(what, ratio, "at least 1.8 x", spread(ours, theirs))


def test_window_costs_little_more_per_useful_flop_than_dense_attention(benchmark, bar) -> None:
    window = attncc.load("sliding_window", window=256)
    run = partial(attncc.attention, pattern=window)
    ours, theirs = in_turns(benchmark, forward(run, tensors(32768)), forward(dense, tensors(8192)), rounds=9)
    useful = attncc.plan(window, 32768).nnz, attncc.plan(attncc.load("causal"), 8192).nnz
    ratio = (ours.median / useful[0]) / (theirs.median / useful[1])
    what = "time per useful FLOP, 256-window at N = 32,768, over dense causal at N = 8,192"
    bar(what, ratio, "at most 2.5 x", spread(ours, theirs))


def test_window_over_a_million_tokens_needs_little_memory(benchmark, bar) -> None:
    window = attncc.load("sliding_window", window=256)
    inputs = tensors(1 << 20, heads=1)
    attncc.attention(*tensors(1024, heads=1), window)
    held: list[int] = []
    outputs: list[Tensor] = []

    def run() -> None:
        outputs[:] = []
        held.append(peak(lambda: outputs.append(attncc.attention(*inputs, window)), CPU))

    benchmark.pedantic(run, rounds=3)
    above = statistics.median(held) - outputs[0].nbytes
    what = "256-window forward, N = 1,048,576, H=1 D=64: peak memory above inputs and output"
    bar(what, above / 1e9, "at most 1 GB")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_strided_forward_is_faster_than_dense_attention_on_a_gpu(benchmark, bar) -> None:
    inputs = [x.cuda().bfloat16() for x in tensors(32768)]
    run = partial(attncc.attention, pattern=attncc.load("strided", l=128))
    device = inputs[0].device
    ours, theirs = in_turns(
        benchmark,
        lambda: elapsed(lambda: run(*inputs), device),
        lambda: elapsed(lambda: dense(*inputs), device),
        rounds=5,
    )
    bar("strided l=128 forward on a GPU, bf16, against dense causal", theirs.median / ours.median, "at least 0 x")
