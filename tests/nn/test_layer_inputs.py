"""Layers of models refuse sizes that they can't have, in attncc's words, and take inputs at the edge."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attncc
from attncc import nn as layers
from attncc.errors import ParameterError

E = 8
CAUSAL = attncc.load("causal")
MAKERS = {
    "num_heads": lambda size: layers.Attention(E, size, CAUSAL),
    "num_key_heads": lambda size: layers.Attention(E, 2, CAUSAL, num_key_heads=size),
    "embed_dim": lambda size: layers.Attention(size, 2, CAUSAL),
    "chunk": lambda size: layers.ChunkedFeedForward(nn.Linear(E, E), size),
    "steps": lambda size: layers.UniversalStack(E, nn.Linear(E, E), size),
    "width": lambda size: layers.SeparableTransition(E, size),
    "top_k": lambda size: layers.MixtureOfExperts(E, [nn.Linear(E, E)], top_k=size),
    "vocabulary": lambda size: layers.LanguageModel(size, E, [layers.Block(E, layers.Attention(E, 2, CAUSAL))]),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [0, -8, 2.0, True, "2"])
def test_sizes_are_positive_integers(name: str, size: object) -> None:
    with pytest.raises(ParameterError, match=name):
        MAKERS[name](size)


def test_nothing_to_stack_is_refused() -> None:
    with pytest.raises(ParameterError, match="layers"):
        layers.ReversibleStack([])


def test_the_past_of_another_model_is_refused() -> None:
    blocks = [layers.Block(E, layers.Attention(E, 2, CAUSAL)) for _ in range(2)]
    model = layers.LanguageModel(10, E, blocks)
    _, past = model.step(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(ParameterError, match="past of 1 blocks"):
        model.step(torch.zeros(1, 1, dtype=torch.int64), past[:1])


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


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_router_learns_from_what_its_experts_return(top_k: int) -> None:
    torch.manual_seed(0)
    mixture = layers.MixtureOfExperts(E, [nn.Linear(E, E) for _ in range(4)], top_k=top_k, capacity_factor=4.0)
    mixture(torch.randn(2, 5, E)).hidden.square().sum().backward()
    assert mixture.router.weight.grad.abs().max() > 1e-3


def test_a_gate_takes_an_integer_bias() -> None:
    assert layers.GruGate(E, bias=2).bias.dtype == torch.float32
