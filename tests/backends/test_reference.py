"""The reference backend: derivatives of every order, and torch's transforms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import attncc

CAUSAL, STRIDED = attncc.load("causal"), attncc.load("strided", l=3)


@attncc.pattern
def nothing_for_some(i, j):
    return (j <= i) & (i % 3 != 1)


@attncc.score
def everything(score, h, i, j, *, slopes: attncc.Weights, table: attncc.Weights):
    """Derivatives that aren't finite where a pair is masked, isn't connected, or takes the other branch."""
    rooted = attncc.where(j <= i, attncc.sqrt(i - j) * slopes[h], attncc.log(-abs(score)) * slopes[h])
    return attncc.where((i + j) % 4 == 3, -math.inf, attncc.tanh(score / 2) * table[i, j] + rooted)


@attncc.score
def unselected(score, i, j, *, zero: attncc.Weights):
    """The square root of 0, whose derivative is infinite, in the branch that isn't taken."""
    return attncc.where(j <= i, score + zero[0], attncc.sqrt(zero[0]))


def drawn(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def attend(pattern: attncc.Pattern, **options: object) -> Callable[..., Tensor]:
    return attncc.compile(pattern, backend="reference", **options)


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, written out."""
    mask = attncc.dense_mask(CAUSAL, q.shape[-2])
    return torch.softmax((q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -math.inf), -1) @ v


@pytest.mark.parametrize(
    "pattern", [CAUSAL, STRIDED, nothing_for_some()], ids=["causal", "strided", "nothing for some"]
)
def test_second_derivatives_of_attention_agree_with_differences(pattern: attncc.Pattern) -> None:
    torch.autograd.gradgradcheck(attend(pattern), drawn(1, 1, 4, 2))
    if pattern is CAUSAL:  # lse of rows without keys is -inf, which finite differences can't handle
        torch.autograd.gradgradcheck(attend(pattern, return_lse=True), drawn(1, 1, 4, 2))


def test_second_derivatives_by_weights_agree_with_differences() -> None:
    slopes, table = (torch.rand(size, dtype=torch.float64, requires_grad=True) for size in ((2,), (5, 5)))
    score = everything(slopes=slopes, table=table)

    def run(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, table: Tensor) -> Tensor:
        return attncc.attention(q, k, v, CAUSAL, score=score.on([slopes, table]), backend="reference")

    inputs = (*drawn(1, 2, 5, 3), slopes, table)
    torch.autograd.gradcheck(run, inputs)
    torch.autograd.gradgradcheck(run, inputs)
    torch.autograd.gradcheck(run, inputs, check_forward_ad=True, check_backward_ad=False)


def test_a_branch_not_taken_contributes_no_derivative() -> None:
    zero, (q, k, v) = torch.zeros(1, dtype=torch.float64, requires_grad=True), drawn(1, 1, 4, 2)
    out = attncc.attention(q, k, v, CAUSAL, score=unselected(zero=zero), backend="reference")
    first = torch.autograd.grad(out.square().sum(), (q, zero), create_graph=True)
    assert all(x.isfinite().all() for x in first)
    torch.testing.assert_close(first[1], torch.zeros_like(zero))  # the same is added to all scores
    assert torch.autograd.grad(first[0].square().sum(), k)[0].isfinite().all()


def test_a_gradient_penalty_agrees_with_dense_attention() -> None:
    """The penalty is the norm of a gradient."""
    q, k, v = drawn(2, 2, 6, 4)

    def penalty(out: Tensor) -> tuple[Tensor, ...]:
        (by_query,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
        return torch.autograd.grad(by_query.norm(), (q, k, v))

    wanted = penalty(plain(q, k, v))
    torch.testing.assert_close(penalty(attend(CAUSAL)(q, k, v)), wanted)


def test_torch_func_transforms_agree_with_dense_attention() -> None:
    q, k, v = (x.detach() for x in drawn(1, 2, 5, 3))
    ours = attend(CAUSAL)
    for transform in (torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        found, wanted = (transform(lambda x, f=f: f(x, k, v).square().sum((1, 2, 3)))(q) for f in (ours, plain))
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.func.jvp(ours, (q, k, v), (k, v, q)), torch.func.jvp(plain, (q, k, v), (k, v, q)))
    stacked = torch.stack([q, k, v])
    torch.testing.assert_close(torch.vmap(ours)(*[stacked] * 3), torch.stack([plain(x, x, x) for x in stacked]))


def test_a_compiled_graph_gives_first_derivatives() -> None:
    torch._dynamo.reset()
    q, k, v = (x.detach().requires_grad_() for x in drawn(1, 2, 5, 3))
    run = torch.compile(lambda *x: attend(CAUSAL)(*x), backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(run(q, k, v).square().sum(), (q, k, v))
    torch.testing.assert_close(found, torch.autograd.grad(attend(CAUSAL)(q, k, v).square().sum(), (q, k, v)))


def test_other_backends_suggest_reference_for_second_derivatives() -> None:
    q, k, v = drawn(1, 1, 4, 2)
    (first,) = torch.autograd.grad(attncc.attention(q, k, v, CAUSAL).square().sum(), q, create_graph=True)
    with pytest.raises(attncc.AttnccError, match="backend='reference'"):
        torch.autograd.grad(first.sum(), k)


@attncc.score
def compared(score, *, limit: attncc.Weights):
    """A branch that the score itself chooses, and another whose derivative is infinite at 0."""
    return attncc.where(score > limit, attncc.sqrt(score - limit), score * limit)


def test_second_derivatives_through_a_condition_on_the_score_agree_with_differences() -> None:
    limit, inputs = torch.tensor(0.1, dtype=torch.float64, requires_grad=True), drawn(1, 1, 4, 2)

    def run(q: Tensor, k: Tensor, v: Tensor, limit: Tensor) -> Tensor:
        return attncc.attention(q, k, v, CAUSAL, score=compared, weights={"limit": limit}, backend="reference")

    torch.autograd.gradcheck(run, (*inputs, limit))
    torch.autograd.gradgradcheck(run, (*inputs, limit))
