"""Compiled graphs of patterns with tables: these are inputs, so that new ones, and new lengths, need no new graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import attncc


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


def documents(length: int, seed: int) -> attncc.Pattern:
    return alike(ids=np.sort(np.random.default_rng(seed).integers(0, 4, length)))


def inputs(length: int) -> list[torch.Tensor]:
    return [torch.randn(1, 2, length, 8, requires_grad=True) for _ in range(3)]


def compiled():
    """Return attention in a graph, and the counter of its graphs."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def block(q, k, v, pattern):
        return attncc.attention(q, k, v, pattern).sin()

    return block, counter


def check(block, length: int, pattern: attncc.Pattern, **options: object) -> None:
    tensors = inputs(length)
    found, wanted = block(*tensors, pattern), attncc.attention(*tensors, pattern, **options).sin()
    torch.testing.assert_close(found, wanted)
    gradients = (torch.autograd.grad(x.sum(), tensors) for x in (found, wanted))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_new_tables_and_lengths_need_two_graphs() -> None:
    block, counter = compiled()
    for length in (24, 31, 48, 17):  # no warning of a recompilation, which would be an error here
        for seed in range(5):
            check(block, length, documents(length, seed))
    assert counter.frame_count == 2


def test_other_templates_need_other_graphs() -> None:
    block, counter = compiled()
    window = attncc.load("sliding_window", window=5)
    for pattern in (documents(24, 0), documents(24, 1) & window, documents(24, 2) & window, window):
        check(block, 24, pattern)
    assert counter.frame_count == 3


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_a_score_stands_beside_the_tables(backend: str) -> None:
    torch._dynamo.reset()
    slopes = torch.rand(2, requires_grad=True)
    options = {"score": attncc.alibi, "weights": {"slopes": slopes}, "backend": backend}

    @torch.compile(fullgraph=True, backend="aot_eager")
    def block(q, k, v, pattern):
        return attncc.attention(q, k, v, pattern, **options).sin()

    check(block, 24, documents(24, 0), **options)
    check(block, 24, documents(24, 1), **options)


def test_a_module_holds_its_pattern() -> None:
    torch._dynamo.reset()
    module = attncc.compile(documents(24, 3))
    in_graph = torch.compile(module, fullgraph=True, backend="aot_eager")
    check(lambda q, k, v, _: in_graph(q, k, v).sin(), 24, module.pattern)


def test_other_packed_documents_need_no_graph() -> None:
    block, counter = compiled()
    window = attncc.load("sliding_window", window=5)
    for ends in ([0, 3, 9, 24], [0, 11, 13, 24], [0, 1, 2, 24]):
        check(block, 24, attncc.Documents(ends).pattern(window))
    assert counter.frame_count == 1
