"""merge(): attention over disjoint sets of keys is that over all of them, in outputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import attncc
from attncc import backends
from attncc.backends.reference.mask import as_broadcast
from attncc.errors import ShapeError
from attncc.testing.oracle import Problem, dense, differentiated

BACKENDS = [name for name, problem in backends.report() if problem is None]
CAUSAL = attncc.load("causal")
WINDOW = attncc.load("sliding_window", window=5)
EARLY = attncc.load("prefix", length=11)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
Part = tuple[Tensor, Tensor]


def plain(*parts: Part) -> Part:
    """The definition, in the tensors' dtype: sums of exponentials, which numbers of moderate size allow."""
    totals = [lse.exp().unsqueeze(-1) for _, lse in parts]
    total = sum(totals)
    out = sum(out * each for (out, _), each in zip(parts, totals, strict=True)) / total.masked_fill(total == 0, 1.0)
    return out, total.log().squeeze(-1)


def drawn(count: int, *shape: int, empty: float = 0.0, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Part]:
    """Parts as leaves, of which a share of the rows has no keys."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for _ in range(count):
        out = torch.randn(shape, generator=generator, dtype=torch.float64)
        lse = 3 * torch.randn(shape[:-1], generator=generator, dtype=torch.float64)
        without = torch.rand(shape[:-1], generator=generator) < empty
        out, lse = out.masked_fill(without.unsqueeze(-1), 0.0), lse.masked_fill(without, -math.inf)
        wide = torch.promote_types(dtype, torch.float32)
        parts.append((out.to(dtype).requires_grad_(), lse.to(wide).requires_grad_()))
    return parts


def flat(parts: list[Part]) -> list[Tensor]:
    return [x for part in parts for x in part]


def paired(tensors: tuple[Tensor, ...]) -> list[Part]:
    return list(zip(tensors[::2], tensors[1::2], strict=True))


@settings(max_examples=150)
@given(st.data())
def test_results_and_gradients_agree_with_the_definition(data: st.DataObject) -> None:
    draw = data.draw
    count, dtype = draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(2, 3, 7, 8), (1, 1, 1, 1), (5, 4), (3,), (2, 0, 4, 8), (2, 2, 3, 0)]))
    parts = drawn(
        count, *shape, empty=draw(st.sampled_from([0.0, 0.3, 1.0])), dtype=dtype, seed=draw(st.integers(0, 99))
    )
    out, lse = attncc.merge(*parts)
    assert (out.dtype, lse.dtype) == (dtype, parts[0][1].dtype)
    exact = [(a.detach().double().requires_grad_(), b.detach().double().requires_grad_()) for a, b in parts]
    wide_out, wide_lse = plain(*exact)
    eps = torch.finfo(dtype).eps
    close = {"rtol": 8 * eps, "atol": 32 * eps}
    torch.testing.assert_close(out.double(), wide_out, **close)
    torch.testing.assert_close(lse.double(), wide_lse, rtol=1e-6, atol=1e-6)
    grad_out, grad_lse = torch.randn_like(wide_out), torch.randn_like(wide_lse).masked_fill(wide_lse == -math.inf, 0.0)
    found = torch.autograd.grad([out, lse], flat(parts), [grad_out.to(dtype), grad_lse.to(lse.dtype)])
    empty = [torch.isinf(b.detach()) for _, b in exact]
    wanted = torch.autograd.grad([wide_out, wide_lse], flat(exact), [grad_out.to(dtype).double(), grad_lse])
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        without = empty[number // 2].view(empty[number // 2].shape + (1,) * (a.ndim - empty[number // 2].ndim))
        assert not a.isnan().any()
        assert (a.masked_select(without) == 0).all()
        torch.testing.assert_close(a.double().masked_fill(without, 0), b.masked_fill(without, 0), **close)


SPLITS: dict[str, tuple[attncc.Pattern, list[attncc.Pattern]]] = {
    "window and the rest": (CAUSAL, [WINDOW, CAUSAL & ~WINDOW]),
    "three": (CAUSAL, [WINDOW & EARLY, WINDOW & ~EARLY, CAUSAL & ~WINDOW]),
    "one part sees nothing": (WINDOW, [WINDOW, CAUSAL & ~CAUSAL]),
    "rows that see nothing": (~EARLY & WINDOW, [~EARLY & WINDOW & CAUSAL, ~EARLY & WINDOW & ~CAUSAL]),
    "one": (CAUSAL, [CAUSAL]),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SPLITS)
def test_parts_of_a_pattern_merge_to_the_whole(backend: str, name: str) -> None:
    whole, parts = SPLITS[name]
    problem = Problem.drawn(33, 33, batch=2, heads=4, kv_heads=2)
    leaves = problem.leaves()
    run = {"enable_gqa": True, "return_lse": True, "backend": backend}
    found = differentiated(*attncc.merge(*(attncc.attention(*leaves, part, **run) for part in parts)), leaves, problem)
    mask = as_broadcast(attncc.dense_mask(whole, 33, heads=4, batch=2), whole)
    for (key, a), (_, b) in zip(found.items(), dense(problem.to(torch.float64), mask).items(), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-5, msg=lambda told, key=key: f"{key}: {told}")


@pytest.mark.parametrize("cuts", [(0, 13, 13, 40), (0, 40), (0, 1, 2, 40)])
def test_chunks_of_keys_merge_to_the_whole(cuts: tuple[int, ...]) -> None:
    """Each with a mask of its own: the queries stand after all the keys before them."""
    problem = Problem.drawn(40, 40, heads=2, kv_heads=2)
    leaves = query, key, value = problem.leaves()

    def part(start: int, stop: int) -> Part:
        kept = key[:, :, start:stop], value[:, :, start:stop]
        found: Part = attncc.attention(query, *kept, CAUSAL, q_offset=-start, return_lse=True)
        return found

    merged = attncc.merge(*(part(*ends) for ends in pairwise(cuts)))
    found = differentiated(*merged, leaves, problem)
    wanted = differentiated(*attncc.attention(*leaves, CAUSAL, return_lse=True), leaves, problem)
    for (key_, a), (_, b) in zip(found.items(), wanted.items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5, msg=lambda told, key=key_: f"{key}: {told}")


def test_order_and_grouping_do_not_matter() -> None:
    a, b, c = drawn(3, 2, 5, 4, empty=0.3)
    wanted = attncc.merge(a, b, c)
    for found in (attncc.merge(c, a, b), attncc.merge(attncc.merge(a, b), c), attncc.merge(a, attncc.merge(c, b))):
        torch.testing.assert_close(found, wanted)


def test_one_part_stays_as_it_is() -> None:
    [(out, lse)] = parts = drawn(1, 2, 5, 4, empty=0.3)
    found = attncc.merge(*parts)
    assert torch.equal(found[0], out)
    assert torch.equal(found[1], lse)


def test_a_sink_is_a_part_without_values() -> None:
    x, sink = Problem.drawn(20, 20, heads=2, kv_heads=2).query, torch.tensor([0.5, -1.0])
    out, lse = attncc.attention(x, x, x, CAUSAL, return_lse=True)
    found = attncc.merge((out, lse), (torch.zeros_like(out), sink.view(2, 1).expand_as(lse)))
    torch.testing.assert_close(found, attncc.attention(x, x, x, CAUSAL, sink=sink, return_lse=True))


@pytest.mark.parametrize("level", [-1e30, 1e30, 3e38])
def test_large_logarithms_give_no_nan(level: float) -> None:
    out = torch.ones(2, 3, requires_grad=True)
    lse = torch.tensor([level, 0.0], requires_grad=True)
    merged = attncc.merge((out, lse), (3 * out, lse), (out, torch.full((2,), -math.inf)))
    torch.testing.assert_close(merged[0], torch.full((2, 3), 2.0))
    torch.testing.assert_close(merged[1], torch.tensor([level, math.log(2)]))
    for gradient in torch.autograd.grad([*merged], [out, lse], [out.detach(), lse.detach().sign()]):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_derivatives_of_first_and_second_order_pass_gradcheck(count: int) -> None:
    inputs = flat(drawn(count, 2, 3, 2))
    torch.autograd.gradcheck(lambda *x: attncc.merge(*paired(x)), inputs)
    torch.autograd.gradgradcheck(lambda *x: attncc.merge(*paired(x)), inputs)


def test_derivatives_pass_gradcheck_beside_parts_without_keys() -> None:
    """Row 0 has keys in one part only, row 1 in none."""
    (out, lse), (other, _) = drawn(2, 2, 3)
    level = torch.tensor([0.0, -math.inf], dtype=torch.float64)
    nothing = torch.full((2,), -math.inf, dtype=torch.float64)

    def run(out: Tensor, lse: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        merged = attncc.merge((out, lse + level), (other, nothing))
        return merged[0], merged[1][:1]

    torch.autograd.gradcheck(run, (out, lse, other))
    torch.autograd.gradgradcheck(run, (out, lse, other))


def test_graphs_merge_without_a_break() -> None:
    torch._dynamo.reset()
    parts = drawn(3, 2, 5, 4, empty=0.3, dtype=torch.float32)
    graph = torch.compile(lambda *x: attncc.merge(*paired(x)), fullgraph=True, backend="aot_eager")
    found, wanted = graph(*flat(parts)), attncc.merge(*parts)
    torch.testing.assert_close(found, wanted)
    gradients = (torch.autograd.grad(ys[0].sum() + ys[1].exp().sum(), flat(parts)) for ys in (found, wanted))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


OUT, LSE = torch.zeros(1, 2, 9, 8), torch.zeros(1, 2, 9)
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "nothing": (lambda: attncc.merge(), "has no parts"),
    "a tensor": (lambda: attncc.merge(OUT, LSE), "Part 0 is a Tensor"),
    "a list of parts": (lambda: attncc.merge([(OUT, LSE), (OUT, LSE)]), "pairs of tensors"),
    "four tensors": (lambda: attncc.merge((OUT, LSE, LSE, LSE)), "Part 0 is a tuple of 4"),
    "another row": (lambda: attncc.merge((OUT, LSE[..., :3])), r"out \(1, 2, 9, 8\) and lse \(1, 2, 3\)"),
    "a column": (lambda: attncc.merge((OUT, LSE[..., None])), r"lse \(1, 2, 9, 1\)"),
    "a number": (lambda: attncc.merge((torch.zeros(()), torch.zeros(()))), r"out \(\)"),
    "a short lse": (lambda: attncc.merge((OUT.bfloat16(), LSE.bfloat16())), "lse of torch.bfloat16"),
    "a long lse": (lambda: attncc.merge((OUT, LSE.double())), "lse of torch.float64"),
    "integers": (lambda: attncc.merge((OUT.long(), LSE)), "out of torch.int64"),
    "an lse elsewhere": (lambda: attncc.merge((OUT, LSE.to("meta"))), "lse on meta"),
    "other queries": (lambda: attncc.merge((OUT, LSE), (OUT[:, :, :3], LSE[:, :, :3])), r"Part 1 is \(1, 2, 3, 8\)"),
    "other dtypes": (lambda: attncc.merge((OUT, LSE), (OUT.half(), LSE)), "torch.float16"),
    "other devices": (lambda: attncc.merge((OUT, LSE), (OUT.to("meta"), LSE.to("meta"))), "on meta"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_parts_are_refused(name: str) -> None:
    call, says = REFUSED[name]
    with pytest.raises(ShapeError, match=says):
        call()
