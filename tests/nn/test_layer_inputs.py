"""Layers of models refuse sizes that they can't have, in attncc's words, and take inputs at the edge."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attncc
from attncc import nn as layers
from attncc.errors import AttnccError, ParameterError, ShapeError

E = 8
CAUSAL = attncc.load("causal")
MAKERS = {
    "num_heads": lambda size: layers.Attention(E, size, CAUSAL),
    "num_key_heads": lambda size: layers.Attention(E, 2, CAUSAL, num_key_heads=size),
    "embed_dim": lambda size: layers.Attention(size, 2, CAUSAL),
    "chunk": lambda size: layers.ChunkedFeedForward(nn.Linear(E, E), size),
    "steps": lambda size: layers.UniversalStack(E, nn.Linear(E, E), size),
    "width": lambda size: layers.SeparableTransition(E, size),
    "hidden_dim": lambda size: layers.FeedForward(E, size),
    "embed_dim of a gate": lambda size: layers.GruGate(size),
    "top_k": lambda size: layers.MixtureOfExperts(E, [nn.Linear(E, E)], top_k=size),
    "vocabulary": lambda size: layers.LanguageModel(size, E, [layers.Block(E, layers.Attention(E, 2, CAUSAL))]),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [0, -8, 2.0, True, "2"])
def test_sizes_are_positive_integers(name: str, size: object) -> None:
    with pytest.raises(ParameterError, match=name.split()[0]):
        MAKERS[name](size)


@pytest.mark.parametrize("pairs", [[], [nn.Linear(E, E)], [(nn.Linear(E, E),) * 3], [(torch.relu, torch.relu)]])
def test_a_layer_that_is_no_pair_of_modules_is_refused(pairs: list[object]) -> None:
    with pytest.raises(ParameterError, match="layers"):
        layers.ReversibleStack(pairs)


def test_a_number_in_the_place_of_modules_or_sizes_is_refused() -> None:
    with pytest.raises(ParameterError, match="experts=4"):
        layers.MixtureOfExperts(E, 4)
    with pytest.raises(ParameterError, match="sizes=8"):
        layers.CompressiveMemory(E, 2, 8)


SIZES = layers.MemorySizes(segment=4, memory=4, compressed=2, ratio=2)
STEPWISE = {
    "Attention": lambda: layers.Attention(E, 2, CAUSAL),
    "SegmentRecurrent": lambda: layers.SegmentRecurrent(E, 2, segment=4, memory=4),
    "CompressiveMemory": lambda: layers.CompressiveMemory(E, 2, SIZES),
    "InfiniAttention": lambda: layers.InfiniAttention(E, 2, segment=4),
}
ON_TOKENS = STEPWISE | {
    "LongformerAttention": lambda: layers.LongformerAttention(E, 2, window=4),
    "UniversalStack": lambda: layers.UniversalStack(E, nn.Linear(E, E), 2),
    "SeparableTransition": lambda: layers.SeparableTransition(E),
    "MixtureOfExperts": lambda: layers.MixtureOfExperts(E, [nn.Linear(E, E) for _ in range(2)]),
}


@pytest.mark.parametrize("name", ON_TOKENS)
@pytest.mark.parametrize("shape", [(4, E), (1, 2, 4, E), (1, 4, E + 2)])
def test_tokens_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="embed_dim=8"):
        ON_TOKENS[name]()(torch.randn(shape))


@pytest.mark.parametrize("name", ON_TOKENS)
@pytest.mark.parametrize("shape", [(2, 0, E), (0, 5, E), (2, 1, E)])
def test_layers_take_no_tokens_and_one(name: str, shape: tuple[int, ...]) -> None:
    hidden = torch.randn(shape, requires_grad=True)
    out = ON_TOKENS[name]()(hidden)
    out.sum().backward()
    assert out.shape == shape
    assert hidden.grad.isfinite().all()


@pytest.mark.parametrize("name", STEPWISE)
def test_the_past_of_another_batch_is_refused(name: str) -> None:
    layer = STEPWISE[name]()
    _, past = layer.step(torch.randn(2, 3, E))
    with pytest.raises(ShapeError, match="3 batch entries after a past of 2"):
        layer.step(torch.randn(3, 1, E), past)


def test_the_past_of_another_model_is_refused() -> None:
    blocks = [layers.Block(E, layers.Attention(E, 2, CAUSAL)) for _ in range(2)]
    model = layers.LanguageModel(10, E, blocks)
    _, past = model.step(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ParameterError, match="past of 1 blocks"):
        model.step(torch.zeros(1, 1, dtype=torch.int64), past[:1])


def test_a_model_with_a_stack_has_no_step() -> None:
    stack = layers.ReversibleStack([(layers.Attention(E, 2, CAUSAL), layers.FeedForward(E))])
    with pytest.raises(ParameterError, match="Block 0 is a ReversibleStack, which has no step"):
        layers.LanguageModel(10, E, [stack]).step(torch.zeros(1, 4, dtype=torch.int64))


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def test_a_reversible_branch_without_a_gradient_has_none() -> None:
    torch.manual_seed(0)
    hidden, linear = torch.randn(1, 3, E, dtype=torch.float64, requires_grad=True), nn.Linear(E, E).double()
    ours = layers.ReversibleStack([(Nothing(), linear)])(hidden)
    wanted = (hidden + hidden + linear(hidden)) / 2
    for one, other in zip(*(torch.autograd.grad(out.square().sum(), hidden) for out in (ours, wanted)), strict=True):
        torch.testing.assert_close(one, other)


RECOMPUTED = {
    "ReversibleStack": lambda: layers.ReversibleStack([(nn.Linear(E, E), layers.FeedForward(E)) for _ in range(2)]),
    "ChunkedFeedForward": lambda: layers.ChunkedFeedForward(layers.FeedForward(E), 2),
}


@pytest.mark.parametrize("name", RECOMPUTED)
def test_lent_parameters_are_those_of_the_backward_pass_too(name: str) -> None:
    torch.manual_seed(0)
    layer, other, hidden = RECOMPUTED[name](), RECOMPUTED[name](), torch.randn(1, 5, E)
    lent = dict(other.named_parameters())
    wanted = torch.autograd.grad(other(hidden).square().sum(), lent.values())
    found = torch.autograd.grad(torch.func.functional_call(layer, lent, (hidden,)).square().sum(), lent.values())
    for one, each in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, each)


def test_parameters_that_change_before_the_backward_pass_are_refused() -> None:
    stack = RECOMPUTED["ReversibleStack"]()
    out = stack(torch.randn(1, 3, E)).sum()
    with torch.no_grad():
        next(stack.parameters()).mul_(2)
    with pytest.raises(AttnccError, match="changed between its forward"):
        out.backward()


def test_a_mixture_of_no_tokens_has_no_loss() -> None:
    found = ON_TOKENS["MixtureOfExperts"]().mixed(torch.randn(2, 0, E))
    assert (found.load_loss, found.dropped) == (0, 0)


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_router_learns_from_what_its_experts_return(top_k: int) -> None:
    torch.manual_seed(0)
    mixture = layers.MixtureOfExperts(E, [nn.Linear(E, E) for _ in range(4)], top_k=top_k, capacity_factor=4.0)
    mixture(torch.randn(2, 5, E)).square().sum().backward()
    assert mixture.router.weight.grad.abs().max() > 1e-3


def test_a_gate_takes_an_integer_bias() -> None:
    assert layers.GruGate(E, bias=2).bias.dtype == torch.float32
