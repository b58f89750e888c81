"""Tables on a GPU: calls that wait for nothing, CUDA graphs, compiled graphs; and what needs no GPU to be shown."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from table_patterns import PATTERNS
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from unread import is_read, unread

import attncc
from attncc.ir.tables import TableData
from attncc.runtime import export

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
LENGTH = 200


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


def inputs(length: int = LENGTH, device: str = "cuda") -> list[Tensor]:
    return [torch.randn(2, 2, length, 16, device=device, requires_grad=True) for _ in range(3)]


def results(pattern: attncc.Pattern, tensors: list[Tensor]) -> list[Tensor]:
    out = attncc.attention(*tensors, pattern, backend="triton")
    return [out, *torch.autograd.grad(out.sum(), tensors)]


@pytest.fixture
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("name", PATTERNS)
def test_new_tables_need_no_wait(name: str, request: pytest.FixtureRequest) -> None:
    first, second = (unread(PATTERNS[name](np.random.default_rng(seed), LENGTH), "cuda") for seed in (0, 1))
    tensors = inputs()
    results(first, tensors)  # prepares the template, and compiles its kernels
    request.getfixturevalue("no_waiting")
    found = results(second, tensors)
    torch.cuda.set_sync_debug_mode("default")
    assert not is_read(second)
    wanted = results(PATTERNS[name](np.random.default_rng(1), LENGTH), tensors)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@needs_gpu
def test_a_cuda_graph_binds_the_tables_that_it_is_replayed_with() -> None:
    ids, tensors = torch.arange(LENGTH, device="cuda") // 50, inputs()
    results(alike(ids=ids), tensors)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = results(alike(ids=ids), tensors)
    for divisor in (50, 30, 70):
        ids.copy_(torch.arange(LENGTH, device="cuda") // divisor)
        graph.replay()
        for one, other in zip(found, results(alike(ids=ids.cpu()), tensors), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@needs_gpu
def test_a_table_keeps_what_its_tensor_held() -> None:
    ids, tensors = torch.arange(LENGTH, device="cuda") // 50, inputs()
    pattern = alike(ids=ids)
    ids.zero_()
    torch.testing.assert_close(results(pattern, tensors)[0], results(alike(ids=torch.arange(LENGTH) // 50), tensors)[0])


def test_compiled_graphs_take_unread_tables_as_inputs(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    made: list[TableData] = []
    monkeypatch.setattr(export, "_table_of", lambda x, is_lists: made.append(TableData.unread(x)) or made[-1])
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    tensors = inputs(40, device)

    @torch.compile(fullgraph=True, backend=counter)
    def block(q, k, v, pattern):
        return attncc.attention(q, k, v, pattern, backend="triton").sin()

    for seed in range(3):
        pattern = alike(ids=np.random.default_rng(seed).integers(0, 3, 40))
        there = unread(pattern, device)
        out = block(*tensors, there)
        wanted = attncc.attention(*tensors, pattern, backend="triton").sin()
        torch.testing.assert_close(out, wanted)
        for one, other in zip(*(torch.autograd.grad(x.sum(), tensors) for x in (out, wanted)), strict=True):
            torch.testing.assert_close(one, other)
        assert not is_read(there)
    assert counter.frame_count == 1
    assert len(made) == 6
    assert not any({"data", "entries"} & table.__dict__.keys() for table in made)


@attncc.pattern
def products(i, j, *, numbers: attncc.Table):
    return numbers[i] * numbers[j] > 2**33


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_products_of_entries_may_leave_32_bits(dtype: type[np.signedinteger], device: str) -> None:
    draw, most = np.random.default_rng(0), min(200_000, np.iinfo(dtype).max)
    numbers = draw.integers(0, most, 40).astype(dtype)
    known, tensors = products(numbers=numbers), inputs(40, device)
    table = TableData.unread(torch.from_numpy(numbers).to(device))
    there = attncc.Pattern(known.template, known.name, known.parameters, [table])
    wanted = attncc.attention(*tensors, known, backend="reference")
    for pattern in (known, there):
        torch.testing.assert_close(results(pattern, tensors)[0], wanted, atol=1e-5, rtol=1e-5)


def test_a_table_that_decides_an_index_is_read_and_that_is_logged(
    caplog: pytest.LogCaptureFixture, device: str
) -> None:
    @attncc.pattern
    def linked(i, j, *, parent: attncc.Table):
        return (j == parent[i]) | (j == parent[parent[i]]) | (i == j)

    pattern = linked(parent=np.maximum(np.arange(40) // 2 - 1, 0))
    tensors = inputs(40, device)
    found = results(unread(pattern, device), tensors)
    assert "read on the host" in caplog.text
    for one, other in zip(found, results(pattern, tensors), strict=True):
        torch.testing.assert_close(one, other)


def test_an_alternative_that_is_asked_for_is_planned_on_the_host(caplog: pytest.LogCaptureFixture, device: str) -> None:
    pattern = unread(alike(ids=np.arange(40) // 7), device)
    attncc.attention(*inputs(40, device), pattern, backend="triton", config={"forward.plan": "dense"})
    assert "alternative 'dense'" in caplog.text


def test_the_pattern_can_be_explained_all_the_same(device: str) -> None:
    pattern = alike(ids=np.arange(40) // 7)
    there = unread(pattern, device)
    assert attncc.plan(there, 40).nnz == attncc.plan(pattern, 40).nnz
    assert "The tables lie on a device." in attncc.plan(there, 40).explain()
    assert there == pattern
    assert there.handle != pattern.handle
