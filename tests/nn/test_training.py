"""Every model trains, and learns what only earlier tokens tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import attncc
from attncc import nn as layers

N, E, H, VOCABULARY = 24, 16, 2, 16
STEPS = 40
CAUSAL, WINDOW = attncc.load("causal"), attncc.load("sliding_window", window=6)
SIZES = layers.MemorySizes(segment=4, memory=4, compressed=2, ratio=2)
#: Nats of the best model that sees the last token alone: of the two of a sequence this one, or any other.
WITHOUT_CONTEXT = math.log(2) + math.log(VOCABULARY - 1) / 2


class Costed(nn.Module):
    """A layer that returns hidden states and a cost, as one that returns hidden states and has a loss."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor) -> Tensor:
        return self.layer(hidden)[0]

    def auxiliary_loss(self, hidden: Tensor) -> Tensor:
        return 0.01 * self.layer(hidden)[1].mean()


def attention() -> nn.Module:
    return layers.Attention(E, H, WINDOW, rotary=True)


def mixture() -> nn.Module:
    return layers.MixtureOfExperts(E, [layers.FeedForward(E) for _ in range(3)])


def branch(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(E), layer)


def compressive() -> nn.Module:
    return layers.CompressiveMemory(E, H, SIZES, compression=layers.LearnedCompression(E // H, 2), rotary=True)


#: What stands between the embedding and the head.
MODELS: dict[str, Callable[[], list[nn.Module]]] = {
    "plain": lambda: [layers.Block(E, attention()) for _ in range(2)],
    "all options": lambda: [
        layers.Block(
            E,
            layers.Attention(
                E,
                H,
                CAUSAL,
                num_key_heads=1,
                score=attncc.alibi,
                score_weights={"slopes": attncc.alibi_slopes(H)},
                sinks=True,
                bias=True,
            ),
        )
    ],
    "longformer": lambda: [layers.Block(E, layers.LongformerAttention(E, H, window=6, causal=True))],
    "reversible": lambda: [
        layers.ReversibleStack([(branch(attention()), branch(layers.FeedForward(E))) for _ in range(2)])
    ],
    "chunked": lambda: [layers.Block(E, attention(), layers.ChunkedFeedForward(layers.FeedForward(E), 10))],
    "universal": lambda: [layers.UniversalStack(E, layers.Block(E, attention(), layers.SeparableTransition(E)), 2)],
    "universal that halts": lambda: [
        Costed(layers.UniversalStack(E, layers.Block(E, attention()), 3, halts=True)),
    ],
    "gated": lambda: [layers.GatedBlock(E, attention()) for _ in range(2)],
    "mixture": lambda: [layers.Block(E, attention(), mixture())],
    "recurrent": lambda: [layers.Block(E, layers.SegmentRecurrent(E, H, segment=4, memory=8)) for _ in range(2)],
    "compressive": lambda: [layers.Block(E, compressive()) for _ in range(2)],
    "infini": lambda: [layers.Block(E, layers.InfiniAttention(E, H, segment=4, rotary=True)) for _ in range(2)],
}


def text(sequences: int, seed: int) -> Tensor:
    """Return sequences of N + 1 tokens, each drawn from two tokens of its own."""
    draw = torch.Generator().manual_seed(seed)
    own = torch.rand(sequences, VOCABULARY, generator=draw).argsort(-1)[:, :2]
    return own.gather(1, torch.randint(2, (sequences, N + 1), generator=draw))


def nats(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the loss in the second half, where a model can have seen both tokens."""
    logits = model(tokens[:, :-1])[:, N // 2 :]
    return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, N // 2 + 1 :].flatten())


def trained(blocks: list[nn.Module]) -> tuple[float, float]:
    """Return the held-out loss of a model before and after training."""
    model = layers.LanguageModel(VOCABULARY, E, blocks)
    optimizer, held_out = torch.optim.Adam(model.parameters(), 2e-2), text(64, seed=1)
    with torch.no_grad():
        before = nats(model, held_out).item()
    for step in range(STEPS):
        optimizer.zero_grad()
        with layers.auxiliary_losses(model) as losses:
            loss = nats(model, text(32, seed=2 + step))
        (loss + sum(losses)).backward()
        optimizer.step()
    with torch.no_grad():
        return before, nats(model, held_out).item()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_from_context(name: str) -> None:
    torch.manual_seed(0)
    before, after = trained(MODELS[name]())
    assert after < before
    assert after < WITHOUT_CONTEXT - 0.3


def test_a_model_without_context_cannot() -> None:
    torch.manual_seed(0)
    _, after = trained([layers.Block(E, layers.Attention(E, H, attncc.load("sliding_window", window=1)))])
    assert after > WITHOUT_CONTEXT - 0.1
