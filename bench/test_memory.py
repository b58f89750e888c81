"""Memories and reduced keys on a CPU: a step against dense attention to the same context, and growth with length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from test_attention import HEAD_DIM, HEADS, forward, forward_backward, in_turns, spread, tensors
from torch import Tensor

import attncc
from attncc_low_rank.linear import causal_linear_attention
from attncc_low_rank.reduced import linformer_attention
from attncc_memory import compression, compressive, infini, memorizing
from attncc_memory.compressive import CompressiveState, MemorySizes, compressive_attention
from attncc_memory.infini import InfiniState, infini_attention
from attncc_memory.memorizing import RetrievalSizes, RetrievalState, memorizing_attention
from attncc_transformer_xl import recurrence
from attncc_transformer_xl.relative import RelativePosition, relative_attention, widened

CONTEXT, STEP, MEMORY = 16384, 256, 256
SIZES = MemorySizes(segment=STEP, memory=MEMORY, compressed=256, ratio=4)
RETRIEVAL = RetrievalSizes(k=32, size=512, segment=STEP, memory=MEMORY)
GATE = torch.zeros(HEADS)
Step = Callable[..., object]


def relative(distances: int) -> RelativePosition:
    generator = torch.Generator().manual_seed(1)
    u, v, table = (torch.randn(HEADS, n, HEAD_DIM, generator=generator) for n in (1, 1, distances))
    return RelativePosition(u[:, 0], v[:, 0], table)


def stepping(name: str, key: Tensor, value: Tensor) -> Step:
    """Return a step on (query, key, value) of STEP positions, behind a full memory."""
    past = [x[:, :, :-STEP] for x in (key, key, value)]
    kept = [x[:, :, -2 * MEMORY :] for x in past]  # what a whole number of segments leaves of the local context
    if name == "transformer_xl":
        memory = recurrence.KeyValueMemory(past[1], past[2]).last(MEMORY)
        return partial(recurrence.step, memory=memory, relative=relative(MEMORY + 1), size=MEMORY)
    if name == "compressive":
        _, old = compressive.step(
            *(x[:, :, -16 * STEP :] for x in past), CompressiveState.empty(*kept[1:]), SIZES, compression.mean
        )
        return partial(compressive.step, state=old, sizes=SIZES, compression=compression.mean)
    if name == "memorizing":
        _, known = memorizing.step(
            *(x[:, :, -16 * STEP :] for x in past), RetrievalState.empty(*kept[1:]), RETRIEVAL, GATE
        )
        return partial(memorizing.step, state=known, sizes=RETRIEVAL, gate=GATE)
    if name == "infini":
        _, matrix = infini.step(*kept, GATE, InfiniState.empty(*kept[1:]), segment=STEP)
        return partial(infini.step, gate=GATE, state=matrix, segment=STEP)
    _, sums = causal_linear_attention(*past)
    return partial(causal_linear_attention, state=sums)


STEPS = {"transformer_xl": 8, "compressive": 6, "memorizing": 1.5, "infini": 8, "linear attention": 8}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_costs_less_than_dense_attention_to_its_context(benchmark, bar, name: str) -> None:
    query, key, value = tensors(CONTEXT)
    new = [x[:, :, -STEP:].contiguous() for x in (query, key, value)]
    causal = partial(attncc.attention, pattern=attncc.load("causal"), q_offset=CONTEXT - STEP)
    with torch.no_grad():
        ours, theirs = in_turns(
            benchmark, forward(stepping(name, key, value), new), forward(causal, [new[0], key, value]), rounds=7
        )
    bar(
        f"{name}, a step of 256 behind 16,384 positions, against causal attention to them",
        theirs.median / ours.median,
        f"at least {STEPS[name]} x",
        spread(ours, theirs),
    )


def linformer(query: Tensor, key: Tensor, value: Tensor) -> object:
    projection = torch.full((256, key.shape[2]), 1 / key.shape[2])
    return linformer_attention(query, key, value, projection, projection)


def transformer_xl(query: Tensor, key: Tensor, value: Tensor) -> object:
    pattern = attncc.load("segment_memory", segment=STEP, memory=MEMORY)
    return relative_attention(query, key, value, pattern, relative(STEP + MEMORY))


WHOLE: dict[str, Step] = {
    "transformer_xl": transformer_xl,
    "compressive": partial(compressive_attention, sizes=SIZES, compression=compression.mean),
    "memorizing": partial(memorizing_attention, sizes=RETRIEVAL, gate=GATE),
    "infini": partial(infini_attention, gate=GATE, segment=STEP),
    "linformer": linformer,
    "linear attention": lambda *x: causal_linear_attention(*x)[0],
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_sequence_takes_time_in_proportion_to_its_length(benchmark, bar, name: str) -> None:
    with torch.no_grad():
        long, short = in_turns(
            benchmark, forward(WHOLE[name], tensors(8192)), forward(WHOLE[name], tensors(2048)), rounds=5
        )
    bar(f"{name}, N = 8,192 over 2,048", long.median / short.median, "at most 6 x", spread(long, short))


def test_waves_cost_less_than_a_table_of_distances(benchmark, bar) -> None:
    known = relative(STEP + MEMORY)
    pattern = attncc.load("segment_memory", segment=STEP, memory=MEMORY)
    projection = torch.randn(HEADS, HEAD_DIM, HEAD_DIM)

    def waves(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        wide = widened(query, key, known.content, known.position, projection)
        out: Tensor = attncc.attention(*wide, value, pattern, scale=HEAD_DIM**-0.5)
        return out

    for what, measured in (("forward", forward), ("forward and backward", forward_backward)):
        plain = measured(partial(attncc.attention, pattern=pattern), tensors(4096))
        for name, run, most in (("table", transformer_xl, 8), ("64 more channels", waves, 3)):
            once = measured(run, tensors(4096))
            once(), plain()
            ratios = sorted(once() / plain() for _ in range(5))
            half = (ratios[-1] - ratios[0]) / 2
            bar(f"transformer_xl, {what}, {name}, over no positions", ratios[2], f"at most {most} x", f"{half:.2g}")
    benchmark.pedantic(lambda: None, rounds=1)
