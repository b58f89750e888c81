"""DeepSpeed's layouts, by definitions of sparsity_config.py in deepspeedai/DeepSpeed at 985acb15, block by block.

DeepSpeed needs a GPU's toolchain to install, so that the loops here say what its classes fill in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import attncc
from attncc import ParameterError
from attncc.like import deepspeed

HEADS, BLOCK = 4, 4
LENGTHS = (32, 44)


def windows(sizes: list[int], blocks: int) -> Iterator[range]:
    """The windows of these many blocks, of which the last goes on."""
    first, number = 0, 0
    while first < blocks:
        size = sizes[min(number, len(sizes) - 1)]
        yield range(first, min(first + size, blocks))
        first, number = first + size, number + 1


def fixed_layout(blocks: int, local: int, size: int, causal: bool, horizontal: bool, kinds: int) -> np.ndarray:
    layout = np.zeros((HEADS, blocks, blocks), bool)
    for h in range(HEADS):
        for window in windows([local], blocks):
            for q in window:
                for k in window:
                    layout[h, q, k] = k <= q or not causal
            start = window[0] + local - (1 + h % kinds) * size
            if len(window) < local:
                start = min(start, blocks - size)
            own = slice(start, start + size)
            layout[h, start if causal else 0 :, own] = True
            if horizontal:
                layout[h, own] = True
    return layout


def windowed(blocks: int, number: int, spans: list[tuple[int, int]], causal: bool) -> np.ndarray:
    layout = np.zeros((HEADS, blocks, blocks), bool)
    for q in range(blocks):
        layout[:, q, max(0, q - number // 2) : q + number // 2 + 1] = True
    for start, stop in spans:
        layout[:, start:stop] = True
        layout[:, :, start:stop] = True
    return np.tril(layout) if causal else layout


def check(pattern: attncc.Pattern, layout: np.ndarray) -> None:
    length = layout.shape[-1] * BLOCK
    mask = np.broadcast_to(attncc.dense_mask(pattern, length, heads=HEADS).numpy(), (HEADS, length, length))
    for made in (mask, np.broadcast_to(dense(deepspeed.from_layout(layout, BLOCK), length), mask.shape)):
        assert np.array_equal(made, layout.repeat(BLOCK, 1).repeat(BLOCK, 2))


def dense(pattern: attncc.Pattern, length: int) -> np.ndarray:
    found = attncc.dense_mask(pattern, length, heads=HEADS, batch=1)
    return found.numpy().reshape(-1, length, length)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    ("local", "size", "attention", "horizontal", "kinds"),
    [
        (4, 1, "bidirectional", False, 1),
        (4, 2, "bidirectional", True, 2),
        (4, 2, "unidirectional", False, 1),
        (4, 1, "unidirectional", False, 4),
        (3, 3, "unidirectional", False, 1),
    ],
)
def test_fixed_equals_deepspeed_s_layout(
    length: int, local: int, size: int, attention: str, horizontal: bool, kinds: int
) -> None:
    made = deepspeed.fixed(HEADS, BLOCK, kinds > 1, local, size, attention, horizontal, kinds)
    check(made, fixed_layout(length // BLOCK, local, size, attention == "unidirectional", horizontal, kinds))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("attention", deepspeed.DIRECTIONS)
def test_variable_equals_deepspeed_s_layout(length: int, attention: str) -> None:
    blocks, causal, sizes, spans = length // BLOCK, attention == "unidirectional", [1, 3, 2], [(0, 1), (5, 7)]
    layout = np.zeros((HEADS, blocks, blocks), bool)
    for window in windows(sizes, blocks):
        for q in window:
            layout[:, q, window[0] : q + 1 if causal else window[-1] + 1] = True
    for start, stop in spans:
        layout[:, start if causal else 0 :, start:stop] = True
        if not causal:
            layout[:, start:stop] = True
    made = deepspeed.variable(HEADS, BLOCK, False, 0, sizes, [0, 5], [1, 7], attention, not causal)
    check(made, layout)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("attention", deepspeed.DIRECTIONS)
@pytest.mark.parametrize("by_head", [False, True])
def test_big_bird_equals_deepspeed_s_layout(length: int, attention: str, by_head: bool) -> None:
    blocks, causal = length // BLOCK, attention == "unidirectional"
    layout = windowed(blocks, 3, [(0, 2)], causal)
    random.seed(7)
    for h in range(HEADS if by_head else 1):
        for q in range(blocks):
            drawn = random.sample(range(q + 1 if causal else blocks), 1)
            layout[h if by_head else slice(None), q, drawn] = True
    check(deepspeed.big_bird(HEADS, BLOCK, by_head, 1, 3, 2, attention, seq_len=length, seed=7), layout)


@pytest.mark.parametrize("attention", deepspeed.DIRECTIONS)
@pytest.mark.parametrize("number", [2, 3, 4])
def test_bs_longformer_and_local_sliding_window_equal_deepspeed_s_layouts(attention: str, number: int) -> None:
    causal, blocks = attention == "unidirectional", LENGTHS[1] // BLOCK
    made = deepspeed.bs_longformer(HEADS, BLOCK, False, number, [0, 6], [2, 7], attention)
    check(made, windowed(blocks, number, [(0, 2), (6, 7)], causal))
    check(deepspeed.local_sliding_window(HEADS, BLOCK, number, attention), windowed(blocks, number, [], causal))


def test_dense_equals_deepspeed_s_layout() -> None:
    check(deepspeed.dense(HEADS, BLOCK), np.ones((HEADS, 8, 8), bool))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: deepspeed.fixed(HEADS, num_global_blocks=3), "num_global_blocks=3"),
        (lambda: deepspeed.fixed(HEADS, num_different_global_patterns=2), "num_different_global_patterns=2"),
        (lambda: deepspeed.fixed(HEADS, attention="causal"), "attention='causal'"),
        (lambda: deepspeed.fixed(HEADS, block=0), "block=0"),
        (lambda: deepspeed.big_bird(HEADS), "num_random_blocks=1"),
        (lambda: deepspeed.big_bird(HEADS, seq_len=40, seed=0), "seq_len=40"),
        (lambda: deepspeed.variable(HEADS, global_block_end_indices=[0]), "global_block_end_indices"),
        (lambda: deepspeed.variable(HEADS, 16, False, 0, (), [0]), "local_window_blocks"),
        (
            lambda: deepspeed.variable(HEADS, attention="unidirectional", horizontal_global_attention=True),
            "horizontal_global_attention=True",
        ),
        (lambda: deepspeed.fixed(2, num_global_blocks=0), "num_global_blocks=0"),
        (lambda: deepspeed.fixed(2, num_local_blocks=None), "num_local_blocks=None"),
        (lambda: deepspeed.variable(2, local_window_blocks=4), "local_window_blocks=4"),
        (lambda: deepspeed.variable(2, global_block_indices="0"), "global_block_indices='0'"),
        (lambda: deepspeed.bs_longformer(2, num_sliding_window_blocks=[3]), "num_sliding_window_blocks=[3]"),
        (lambda: deepspeed.local_sliding_window(2, num_sliding_window_blocks=-1), "num_sliding_window_blocks=-1"),
        (lambda: deepspeed.from_layout(1), "layout=()"),
    ],
)
def test_parameters_that_deepspeed_refuses_are_errors(call: Any, told: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(told)):
        call()
