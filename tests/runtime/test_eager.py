"""Eager calls: which tensors need no operator, and that both ways give one result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import attncc
from attncc.runtime import dispatch
from attncc.runtime.eager import is_eager

CAUSAL = attncc.load("causal")


class Seen(TorchDispatchMode):
    """Collects the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operators.append(str(function))
        return function(*args, **(kwargs or {}))


class Subclass(Tensor):
    pass


class Mode(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_ordinary_tensors_are_eager() -> None:
    x = torch.ones(2, 3)
    assert is_eager(x, x.T, x[:, ::2], torch.nn.Parameter(x), x.requires_grad_())
    with torch.inference_mode():
        assert is_eager(x, torch.ones(2))
    with torch.no_grad():
        assert is_eager(x)


@pytest.mark.parametrize(
    "other",
    [
        torch.ones(2, device="meta"),
        torch.ones(2).as_subclass(Subclass),
        torch.ones(2).to_sparse(),
        FakeTensorMode().from_tensor(torch.ones(2)),
        "text",
    ],
    ids=["meta", "subclass", "sparse", "fake", "text"],
)
def test_other_arguments_are_not_eager(other: object) -> None:
    assert not is_eager(torch.ones(2), other)


@pytest.mark.parametrize(
    "context", [FakeTensorMode, Mode, Seen, torch.autograd.forward_ad.dual_level, lambda: torch.device("cpu")]
)
def test_modes_make_calls_operators(context: Callable[[], object]) -> None:
    x = torch.ones(2)
    with context():
        assert not is_eager(x)
    assert is_eager(x)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is")
def test_transforms_and_traces_make_calls_operators() -> None:
    found: list[bool] = []

    def noted(x: Tensor) -> Tensor:
        found.append(is_eager(x) or is_eager(torch.ones(2)))
        return x.sum()

    torch.vmap(noted)(torch.ones(2, 3))
    torch.func.grad(noted)(torch.ones(2))
    torch.func.functionalize(noted)(torch.ones(2))
    torch.jit.trace(noted, torch.ones(2), check_trace=False)
    assert found == [False] * 4


def tensors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 20, 8, generator=generator, requires_grad=True) for _ in range(3)]


def results(backend: str, score: attncc.Score | None) -> list[Tensor]:
    inputs = tensors()
    out, lse = attncc.attention(*inputs, CAUSAL, score=score, backend=backend, return_lse=True)
    return [out, lse, *torch.autograd.grad(out.sum() + lse.cos().sum(), inputs)]


@pytest.mark.parametrize("score", [None, attncc.softcap(cap=2.0)], ids=["plain", "scored"])
def test_operators_and_eager_calls_give_one_result(score: attncc.Score | None) -> None:
    eager = results("torch", score)
    with Seen() as seen:
        dispatched = results("torch", score)
    for a, b in zip(eager, dispatched, strict=True):
        assert torch.equal(a, b)
    assert [name for name in seen.operators if name.startswith("attncc")] == (
        ["attncc.attention.default", "attncc.attention_backward.default"]
        if score is None
        else ["attncc.general_attention.default", "attncc.general_attention_backward.default"]
    )


def test_backwards_of_eager_calls_are_seen_by_modes() -> None:
    inputs = tensors()
    out = attncc.attention(*inputs, CAUSAL)
    with Seen() as seen:
        torch.autograd.grad(out.sum(), inputs)
    assert "attncc.attention_backward.default" in seen.operators


def test_gradients_of_eager_calls_may_be_batched() -> None:
    inputs = tensors()
    out = attncc.attention(*inputs, CAUSAL)
    grads = torch.randn(4, *out.shape)
    batched = torch.autograd.grad(out, inputs, grads, is_grads_batched=True, retain_graph=True)
    for number, grad in enumerate(grads):
        single = torch.autograd.grad(out, inputs, grad, retain_graph=True)
        for a, b in zip(batched, single, strict=True):
            torch.testing.assert_close(a[number], b)


@pytest.mark.parametrize("score", [None, attncc.softcap(cap=2.0)], ids=["plain", "scored"])
def test_gradients_of_eager_calls_are_not_differentiated_again(score: attncc.Score | None) -> None:
    inputs = tensors()
    out = attncc.attention(*inputs, CAUSAL, score=score)
    [gradient] = torch.autograd.grad(out.sum(), inputs[0], create_graph=True)
    with pytest.raises(attncc.AttnccError, match="differentiated again"):
        gradient.sum().backward()


def test_gradients_of_eager_calls_are_no_views() -> None:
    inputs = tensors()
    attncc.attention(*inputs, CAUSAL).sum().backward()
    for x in inputs:
        assert x.grad is not None
        assert not x.grad._is_view()
        assert x.grad.is_contiguous()


def test_tensors_of_ordinary_calls_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "check_kinds", None)  # what only other tensors need
    query, key, value = tensors()
    attncc.attention(query, key, value, CAUSAL)
    with pytest.raises(attncc.ShapeError):
        attncc.attention(query, key[:, :, :5], value, CAUSAL)


def test_weights_of_a_score_that_changes_nothing_get_no_gradients() -> None:
    @attncc.score
    def unchanged(score, i, *, bias: attncc.Weights):
        return score + (bias[i] - bias[i])

    query, key, value = tensors()
    bias = torch.ones(query.shape[2], requires_grad=True)
    out = attncc.attention(query, key, value, CAUSAL, score=unchanged(bias=bias))
    found = torch.autograd.grad(out.sum(), [query, key, value, bias], allow_unused=True)
    wanted = torch.autograd.grad(attncc.attention(query, key, value, CAUSAL).sum(), [query, key, value])
    torch.testing.assert_close(found[:3], wanted)
    assert found[3] is None
