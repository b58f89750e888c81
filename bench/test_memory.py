"""Memories and reduced keys on a CPU: a step against dense attention to the same context, and growth with length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from test_attention import HEAD_DIM, HEADS, forward, forward_backward, in_turns, spread, tensors
from torch import Tensor

import attncc
from attncc.nn.functional import compression, compressive, infini
from attncc.nn.functional.compressive import CompressiveState, MemorySizes, compressive_attention
from attncc.nn.functional.infini import InfiniState, infini_attention
from attncc.nn.functional.relative import RelativePosition, relative_attention, widened
from attncc_low_rank.linear import causal_linear_attention
from attncc_low_rank.reduced import linformer_attention
from attncc_memory import memorizing
from attncc_memory.memorizing import RetrievalSizes, RetrievalState, memorizing_attention
from attncc_transformer_xl import recurrence

CONTEXT, STEP, MEMORY = 16384, 256, 256
SIZES = MemorySizes(segment=STEP, memory=MEMORY, compressed=256, ratio=4)
RETRIEVAL = RetrievalSizes(k=32, size=512, segment=STEP, memory=MEMORY)
GATE = torch.zeros(HEADS)
Step = Callable[..., object]


def relative(distances: int) -> RelativePosition:
    generator = torch.Generator().manual_seed(1)
    u, v, table = (torch.randn(HEADS, n, HEAD_DIM, generator=generator) for n in (1, 1, distances))
    return RelativePosition(u[:, 0], v[:, 0], table)


def nothing(key: Tensor, value: Tensor) -> None:
    """Return what a step without a past gets."""


@dataclass(frozen=True)
class Stepping:
    """A step, the name of its state with what makes the first one, its options, and how fast it must be."""

    step: Callable[..., Any]
    state: str
    first: Callable[[Tensor, Tensor], Any]
    options: Mapping[str, Any]
    least: float

    def behind(self, past: list[Tensor]) -> Step:
        """Return a step on (query, key, value) that has the state after `past`."""
        _, state = self.step(*past, **{self.state: self.first(*past[1:])}, **self.options)
        return partial(self.step, **{self.state: state}, **self.options)


STEPS = {
    "transformer_xl": Stepping(
        recurrence.step, "memory", nothing, {"relative": relative(MEMORY + 1), "size": MEMORY}, 8
    ),
    "compressive": Stepping(
        compressive.step, "state", CompressiveState.empty, {"sizes": SIZES, "compression": compression.mean}, 6
    ),
    "memorizing": Stepping(memorizing.step, "state", RetrievalState.empty, {"sizes": RETRIEVAL, "gate": GATE}, 3),
    "infini": Stepping(infini.step, "state", InfiniState.empty, {"gate": GATE, "segment": STEP}, 8),
    "linear attention": Stepping(causal_linear_attention, "state", nothing, {}, 8),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_costs_less_than_dense_attention_to_its_context(benchmark, bar, name: str) -> None:
    query, key, value = tensors(CONTEXT)
    new = [x[:, :, -STEP:].contiguous() for x in (query, key, value)]
    past = [x[:, :, -17 * STEP : -STEP] for x in (query, key, value)]  # enough to fill each memory
    causal = partial(attncc.attention, pattern=attncc.load("causal"), q_offset=CONTEXT - STEP)
    with torch.no_grad():
        ours, theirs = in_turns(
            benchmark, forward(STEPS[name].behind(past), new), forward(causal, [new[0], key, value]), rounds=7
        )
    bar(
        f"{name}, a step of 256 behind 16,384 positions, against causal attention to them",
        theirs.median / ours.median,
        f"at least {STEPS[name].least} x",
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


def waves(query: Tensor, key: Tensor, value: Tensor) -> object:
    known, projection = relative(1), torch.full((HEADS, HEAD_DIM, HEAD_DIM), 1 / HEAD_DIM)
    pattern = attncc.load("segment_memory", segment=STEP, memory=MEMORY)
    wide = widened(query, key, known.content, known.position, projection)
    return attncc.attention(*wide, value, pattern, scale=HEAD_DIM**-0.5)


@pytest.mark.parametrize(("name", "run", "most"), [("table", transformer_xl, 8), ("64 more channels", waves, 4)])
@pytest.mark.parametrize(("what", "measured"), [("forward", forward), ("forward and backward", forward_backward)])
def test_relative_positions_cost_little(benchmark, bar, what, measured, name, run, most) -> None:
    plain = partial(attncc.attention, pattern=attncc.load("segment_memory", segment=STEP, memory=MEMORY))
    ours, theirs = in_turns(benchmark, measured(run, tensors(4096)), measured(plain, tensors(4096)), rounds=5)
    ratio = ours.median / theirs.median
    bar(f"transformer_xl, {what}, {name}, over no positions", ratio, f"at most {most} x", spread(ours, theirs))
