"""paged_attention() in compiled graphs: page tables, lengths and offsets are inputs, so that one graph serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from paged_cases import drawn, in_pages
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.errors import ExportError, ShapeError
from attncc.runtime.paged import paged_attention

WINDOW = attncc.load("sliding_window", window=12)
SINK = torch.tensor([0.5, -0.5, 1.0, 0.0])
SIZE = 8
#: Lengths of each batch, each with a page table of its own.
STEPS = ([40, 17, 0, 9], [38, 1, 5, 40])


def step(*tensors: Tensor, **options: Any) -> tuple[Tensor, ...]:
    *arguments, slopes = tensors
    kept: dict[str, Any] = {"score": attncc.alibi, "weights": {"slopes": slopes}, "sink": SINK, "return_lse": True}
    return paged_attention(*arguments, WINDOW, enable_gqa=True, **kept, **options)


def compiled(function: Callable[..., Any]) -> tuple[Callable[..., Any], CompileCounterWithBackend]:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    return torch.compile(function, fullgraph=True, backend=counter), counter


def cached(lengths: list[int], seed: int = 0) -> tuple[Tensor, ...]:
    """Return queries, pools, whose other rows are NaN, page table and lengths."""
    q, k, v = drawn(1, torch.float32)
    (k_cache, table), (v_cache, _) = (in_pages(x, lengths, SIZE, seed) for x in (k, v))
    return q, k_cache, v_cache, table, torch.tensor(lengths)


def test_new_page_tables_and_lengths_need_no_new_graph() -> None:
    """One graph is for steps with gradients, another one for those without, which read keys in their pages."""
    block, counter = compiled(step)
    for seed, lengths in enumerate(STEPS):
        slopes = torch.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)
        arguments = cached(lengths, seed)
        with torch.no_grad():
            found = block(*arguments, slopes)
        torch.testing.assert_close(found, step(*arguments, slopes))
        assert not found[0].isnan().any()
        q, k_cache, v_cache, *where = arguments
        leaves = [x.nan_to_num().requires_grad_() for x in (q, k_cache, v_cache)]
        losses = (f(*leaves, *where, slopes)[0].square().sum() for f in (block, step))
        gradients = (torch.autograd.grad(x, [*leaves, slopes]) for x in losses)
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)
    assert counter.frame_count == 2


def test_patterns_with_tables_and_chunks_of_prompts_are_in_graphs() -> None:
    """Here tokens of two kinds see their own kind, and a chunk of queries has an offset of its own."""

    @attncc.pattern
    def alike(i, j, *, kind: attncc.Table):
        return (kind[i] == kind[j]) & (j <= i)

    def chunk(*arguments: Any) -> Any:
        *own, offset, pattern = arguments
        return paged_attention(*own, pattern, q_offset=offset, enable_gqa=True)

    block, counter = compiled(chunk)
    for seed, lengths in enumerate(([40, 17, 12, 9], [33, 21, 8, 7])):
        pattern = alike(kind=torch.arange(40 + seed) % 2)
        _, *where = cached(lengths, seed)
        arguments = drawn(5, torch.float32)[0], *where, torch.tensor(lengths) - 6, pattern
        torch.testing.assert_close(block(*arguments), chunk(*arguments))
    assert counter.frame_count <= 2  # with another length of the table


def test_wrong_contents_are_errors_when_the_graph_runs() -> None:
    block, counter = compiled(lambda *x: paged_attention(*x, WINDOW, enable_gqa=True))
    *tensors, table, lengths = cached(STEPS[0])
    wrong = [
        (torch.full_like(table, 99), lengths, "block_table has pages that aren't in the pool"),
        (torch.full_like(table, -1), lengths, "or too few for cache_seqlens"),
        (table, torch.tensor([41, 1, 1, 1]), "cache_seqlens has .* more than block_table has pages for"),
        (table, torch.tensor([-1, 1, 1, 1]), "cache_seqlens has fewer keys than 0"),
    ]
    for *where, problem in wrong:
        with pytest.raises(RuntimeError, match=problem):
            block(*tensors, *where)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("changed", "options", "problem"),
    [
        ({3: torch.zeros(3, 5, dtype=torch.int32)}, {}, "block_table doesn't fit the batch"),
        ({4: torch.tensor([1, 2])}, {}, r"cache_seqlens has shape \(2,\), and there are 4 batch entries"),
        ({}, {"batch_invariant": True}, r"paged_attention\(batch_invariant=True\) is called inside of a function"),
    ],
)
def test_wrong_arguments_are_errors_in_graphs(
    changed: dict[int, Tensor], options: dict[str, Any], problem: str
) -> None:
    given = dict(enumerate(cached(STEPS[0]))) | changed
    block, _ = compiled(lambda *x: paged_attention(*x, WINDOW, enable_gqa=True, **options))
    with pytest.raises(ShapeError, match=problem):
        block(*given.values())


def test_pages_are_not_exported() -> None:
    class Step(torch.nn.Module):
        def forward(self, *given: Tensor) -> Any:
            return paged_attention(*given, WINDOW, enable_gqa=True)

    with pytest.raises(ExportError, match="A saved program holds no page table"):
        torch.export.export(Step(), cached(STEPS[0]))
