"""Kernels on pages: rows come from an array, positions from another one where they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND
from attncc.frontend.pages import Pages
from attncc.ir.score import ScoreExpression
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu, target

QUERIES, LENGTHS = 4, np.array([500, 100])
SEQUENCES = attncc.Sequences(LENGTHS - QUERIES, LENGTHS)
TREE = attncc.load("speculative_tree", enter=[0, 1, 2, 3], leave=[4, 2, 4, 4])
ALIBI = attncc.alibi(slopes=torch.rand(2))


def sources(pattern: attncc.Pattern, score: ScoreExpression | None, name: str):
    paged = Pages(np.arange(64).reshape(2, 32), LENGTHS, 16).on(SEQUENCES.pattern(pattern))
    made = attncc.plan(paged, QUERIES, 512, batch=2, heads=2, target=name)
    inputs = Inputs.given(2, 2, None, 64, 64, "bf16")
    return BACKEND.lower_kernels(made, score, {}, inputs, target(name), False).sources("forward")


@pytest.mark.parametrize("name", ["h100", "mi300x"])
def test_kernels_on_pages_compile(name: str) -> None:
    every = {
        *sources(attncc.load("causal"), None, name),
        *sources(attncc.load("strided", l=8).union(), None, name),
        *sources(TREE, None, name),
        *sources(attncc.load("causal"), SEQUENCES.score(ALIBI).expression, name),
    }
    for compiled in compile_all(every, gpu(name), workers=1):
        assert not compiled.resources.excess(gpu(name))


def test_positions_are_read_where_something_asks_for_them() -> None:
    for pattern, score, asked in (
        (attncc.load("causal"), None, False),
        (TREE, None, True),
        (attncc.load("causal"), SEQUENCES.score(ALIBI).expression, True),
    ):
        texts = [source.text for source in sources(pattern, score, "h100")]
        assert any("tl.load(key_positions" in text for text in texts) == asked
        assert all("tl.load(col_positions" in text for text in texts)
