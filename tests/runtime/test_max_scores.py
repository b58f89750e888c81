"""The greatest score of each row, beside out and lse."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc import backends
from attncc.backends.reference.mask import as_broadcast
from attncc.errors import ShapeError
from attncc.testing.strategies import Case, cases

BACKENDS = [name for name, problem in backends.report() if problem is None]
CAUSAL = attncc.load("causal")
PATTERNS = {
    "causal": CAUSAL,
    "strided": attncc.load("strided", l=8),
    "full": attncc.load("full"),
    "heads": attncc.per_head([CAUSAL, attncc.load("sliding_window", window=3)]),
    "documents": attncc.load("document", ids=torch.arange(70) // 9),
    "nothing for some": ~attncc.load("prefix", length=20),
    "nothing": CAUSAL & ~CAUSAL,
}
N = 70


def tensors(dtype: torch.dtype = torch.float32, heads: int = 2, q_len: int = N) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((2, heads, q_len, 8), (2, 2, N, 8), (2, 2, N, 12))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def expected(query: Tensor, key: Tensor, mask: Tensor, scale: float = 8**-0.5) -> Tensor:
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query.double() @ key.double().mT * scale
    return scores.masked_fill(~mask, -math.inf).amax(-1)


def mask_of(pattern: attncc.Pattern, q_len: int = N, heads: int = 2, q_offset: int = 0) -> Tensor:
    return as_broadcast(attncc.dense_mask(pattern, q_len, N, q_offset=q_offset, heads=heads, batch=2), pattern)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found.double(), wanted, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PATTERNS)
def test_greatest_scores_are_those_of_the_dense_matrix(backend: str, name: str) -> None:
    q, k, v = tensors(heads=4)
    pattern = PATTERNS[name]
    options = {"enable_gqa": True, "backend": backend, "scale": -0.7}
    out, lse, found = attncc.attention(q, k, v, pattern, return_lse=True, return_max_scores=True, **options)
    assert found.dtype == lse.dtype
    assert not found.requires_grad
    close(found, expected(q, k, mask_of(pattern, heads=4), -0.7))
    wanted_out, wanted_lse = attncc.attention(q, k, v, pattern, return_lse=True, **options)
    torch.testing.assert_close((out, lse), (wanted_out, wanted_lse))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_scores_are_in_the_dtype_of_lse(dtype: torch.dtype) -> None:
    q, k, v = tensors(dtype)
    _, lse, found = attncc.attention(q, k, v, CAUSAL, return_lse=True, return_max_scores=True)
    assert found.dtype == lse.dtype
    close(found, expected(q, k, mask_of(CAUSAL)))


@given(cases())
def test_drawn_patterns_agree_with_the_mask(case: Case) -> None:
    generator = torch.Generator().manual_seed(5)
    q, k = (
        torch.randn(case.batch, case.heads, n, 8, dtype=torch.float64, generator=generator)
        for n in (case.q_len, case.kv_len)
    )
    _, found = attncc.attention(q, k, k, case.pattern, q_offset=case.q_offset, return_max_scores=True)
    close(found, expected(q, k, torch.from_numpy(case.mask.copy())))


@given(st.integers(1, 5), st.integers(0, 60))
def test_decoding_and_chunks(rows: int, offset: int) -> None:
    q, k, v = tensors(q_len=rows)
    _, found = attncc.attention(q, k, v, CAUSAL, q_offset=offset, return_max_scores=True)
    close(found, expected(q, k, mask_of(CAUSAL, rows, q_offset=offset)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_are_those_of_the_score(backend: str) -> None:
    q, k, v = tensors()
    slopes = torch.tensor([0.5, 0.1], requires_grad=True)
    score = attncc.alibi(slopes=slopes).then(attncc.softcap(cap=2.0))
    _, found = attncc.attention(q, k, v, CAUSAL, score=score, backend=backend, return_max_scores=True)
    gap = (torch.arange(N)[:, None] - torch.arange(N)).abs()
    scores = q.double() @ k.double().mT * 8**-0.5 - slopes.detach().double()[:, None, None] * gap
    scores = (2 * torch.tanh(scores / 2)).masked_fill(gap.triu(1) > 0, -math.inf)
    close(found, scores.amax(-1))
    assert not found.requires_grad


def test_a_sink_is_no_score() -> None:
    q, k, v = tensors()
    sink = torch.full((2,), 50.0)
    found = attncc.attention(q, k, v, CAUSAL, sink=sink, return_max_scores=True)[1]
    close(found, expected(q, k, mask_of(CAUSAL)))


def test_other_results_stay_differentiable() -> None:
    q, k, v = (x.requires_grad_() for x in tensors())
    out, lse, found = attncc.attention(q, k, v, CAUSAL, return_lse=True, return_max_scores=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        found.sum().backward()
    got = torch.autograd.grad(out.sum() + lse.sum(), (q, k, v))
    plain = attncc.attention(q, k, v, CAUSAL, return_lse=True)
    torch.testing.assert_close(got, torch.autograd.grad(plain[0].sum() + plain[1].sum(), (q, k, v)))


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return ids[i] == ids[j]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_has_them(backend: str) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def call(q: Tensor, k: Tensor, v: Tensor, ids: Tensor) -> Any:
        return attncc.attention(q, k, v, alike(ids=ids), backend=backend, return_max_scores=True)

    q, k, v = (x.requires_grad_() for x in tensors())
    for width in (5, 11):
        ids = torch.arange(N) // width
        out, found = call(q, k, v, ids)
        out.sum().backward()
        close(found, expected(q.detach(), k.detach(), mask_of(alike(ids=ids))))
    assert counter.frame_count == 1


def test_an_exported_program_has_them() -> None:
    module = attncc.compile(CAUSAL, return_lse=True, return_max_scores=True)
    program = torch.export.export(module, tuple(tensors())).module()
    q, k, v = tensors()
    close(program(q, k, v)[2], expected(q, k, mask_of(CAUSAL)))


def test_packed_documents_have_them() -> None:
    q, k, v = (x[0].transpose(0, 1) for x in tensors())
    ends = torch.tensor([0, 9, 30, N])
    out, found = attncc.varlen_attention(q, k, v, ends, ends, CAUSAL, return_max_scores=True)
    assert out.shape == (N, 2, 12)
    for first, last in pairwise(ends.tolist()):
        part = [x[first:last].transpose(0, 1)[None] for x in (q, k, v)]
        _, own = attncc.attention(*part, CAUSAL, return_max_scores=True)
        torch.testing.assert_close(found[:, first:last], own[0])


def test_merged_parts_have_the_greatest_of_all() -> None:
    q, k, v = (x.requires_grad_() for x in tensors())
    near, far = attncc.load("sliding_window", window=9), CAUSAL & ~attncc.load("sliding_window", window=9)
    parts = [attncc.attention(q, k, v, p, return_lse=True, return_max_scores=True) for p in (near, far)]
    whole = attncc.attention(q, k, v, CAUSAL, return_lse=True, return_max_scores=True)
    torch.testing.assert_close(attncc.merge(*parts), whole)
    with pytest.raises(ShapeError, match="Part 1 is a tuple of 2"):
        attncc.merge(parts[0], parts[1][:2])
    with pytest.raises(ShapeError, match="max_scores"):
        attncc.merge((*parts[0][:2], parts[0][2][..., :3]))


def test_without_batch_entries() -> None:
    q, k, v = (x[:0] for x in tensors())
    assert attncc.attention(q, k, v, CAUSAL, return_max_scores=True)[1].shape == (0, 2, N)
