"""Every layer's gradients, those of parameters included, are those of finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import attncc
from attncc import nn as layers

N, E, H, VOCABULARY = 6, 4, 2, 5
CAUSAL, WINDOW = attncc.load("causal"), attncc.load("sliding_window", window=3)
SIZES = layers.MemorySizes(segment=2, memory=2, compressed=2, ratio=2)


def scored() -> nn.Module:
    slopes = {"slopes": attncc.alibi_slopes(H)}
    return layers.Attention(
        E, H, WINDOW, num_key_heads=1, score=attncc.alibi, score_weights=slopes, rotary=True, sinks=True, bias=True
    )


def block() -> nn.Module:
    return layers.Block(E, layers.Attention(E, H, WINDOW))


def experts() -> list[nn.Module]:
    return [layers.FeedForward(E) for _ in range(3)]


def reversible() -> nn.Module:
    return layers.ReversibleStack([(layers.Attention(E, H, WINDOW), layers.FeedForward(E)) for _ in range(2)])


#: The class, a colon and a variant if there are several -> one of it.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Attention": lambda: layers.Attention(E, H, CAUSAL),
    "Attention: all options": scored,
    "Block": block,
    "ChunkedFeedForward": lambda: layers.ChunkedFeedForward(layers.FeedForward(E), 4),
    "CompressiveMemory": lambda: layers.CompressiveMemory(E, H, SIZES, rotary=True),
    "CompressiveMemory: learned": lambda: layers.CompressiveMemory(
        E, H, SIZES, compression=layers.LearnedCompression(E // H, 2)
    ),
    "FeedForward": lambda: layers.FeedForward(E),
    "GatedBlock": lambda: layers.GatedBlock(E, layers.Attention(E, H, WINDOW)),
    "InfiniAttention": lambda: layers.InfiniAttention(E, H, segment=2),
    "InfiniAttention: linear": lambda: layers.InfiniAttention(E, H, segment=2, delta=False, rotary=True),
    "LanguageModel": lambda: layers.LanguageModel(VOCABULARY, E, [block(), block()]),
    "LongformerAttention": lambda: layers.LongformerAttention(E, H, window=2, dilations=(1, 2)),
    "MixtureOfExperts": lambda: layers.MixtureOfExperts(E, experts(), capacity_factor=0.7),
    "MixtureOfExperts: one": lambda: layers.MixtureOfExperts(E, experts(), top_k=1),
    "ReversibleStack": reversible,
    # Nothing of a memory: gradients end there, on purpose.
    "SegmentRecurrent": lambda: layers.SegmentRecurrent(E, H, segment=N, memory=0),
    "SeparableTransition": lambda: layers.SeparableTransition(E),
    "UniversalStack": lambda: layers.UniversalStack(E, block(), 2),
    "UniversalStack: halts": lambda: layers.UniversalStack(E, block(), 4, halts=True),
}
#: Layers of another input, whose gradients come with those of the layers that they are part of.
PARTS = {"GruGate", "LearnedCompression"}
#: (B, N), for a model; with a global token and a padding for LongformerAttention.
TOKENS = torch.tensor([[3, 1, 4, 1, 0, 2]])
ROLES = torch.tensor([[2, 1, 1, 1, 1, 0]])


def run(layer: nn.Module, hidden: Tensor) -> object:
    """Return what a layer gives for hidden states, or for tokens and roles where it takes them."""
    if isinstance(layer, layers.LanguageModel):
        return layer(TOKENS)
    return layer(hidden, ROLES) if isinstance(layer, layers.LongformerAttention) else layer(hidden)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # nothing is at its first value, such as a zero
    hidden = torch.randn(1, N, E, dtype=torch.float64, requires_grad=True)
    inputs = hidden, *layer.parameters()
    assert torch.autograd.gradcheck(lambda x, *_: run(layer, x), inputs, fast_mode=True)


def test_no_layer_is_left_out() -> None:
    public = {name for name in layers.__all__ if isinstance(getattr(layers, name), type)}
    modules = {name for name in public if issubclass(getattr(layers, name), nn.Module)}
    assert modules == {name.split(":")[0] for name in LAYERS} | PARTS
