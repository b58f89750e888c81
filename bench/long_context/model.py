"""One model for all families: pre-norm blocks between an embedding and a head, with equally many parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attncc.nn import Block, FeedForward

from .families import Family


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    vocabulary: int = 256
    layers: int = 4
    heads: int = 4
    width: int = 128
    hidden: int = 512  # of the feed-forward layers


class Model(nn.Module):
    """Logits of each token's target, (B, N, vocabulary), from tokens, (B, N).

    Args:
        shape: The sizes.
        family: What the layers attend to.
        context: Tokens that the model is made for, N.
        places: For each kind of place, such as a pixel's row, that of each token, (N,); each is embedded. A text has
            none.
    """

    def __init__(self, shape: Shape, family: Family, context: int, places: Sequence[Tensor] = ()) -> None:
        super().__init__()
        width = shape.width
        self.embedding = nn.Embedding(shape.vocabulary, width)
        self.places = nn.ModuleList(nn.Embedding(int(place.max()) + 1, width) for place in places)
        for each in (self.embedding, *self.places):
            nn.init.normal_(each.weight, std=0.02)
        self.place_of_tokens = list(places)
        self.blocks = nn.ModuleList(_block(shape, family, context, depth) for depth in range(shape.layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, shape.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        for place, each in zip(self.place_of_tokens, self.places, strict=True):
            hidden = hidden + each(place)
        for block in self.blocks:
            hidden = block(hidden)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


def parameters(module: nn.Module) -> int:
    """Return the number of a module's parameters."""
    return sum(each.numel() for each in module.parameters())


def _block(shape: Shape, family: Family, context: int, depth: int) -> Block:
    """Return a block; what its attention has more or fewer parameters than plain projections, the rest makes up."""
    layer = family.layers[depth % len(family.layers)]
    attention = layer(shape.width, shape.heads, context)
    spare = 4 * shape.width**2 - parameters(attention)
    hidden = shape.hidden + round(spare / (2 * shape.width + 1))
    return Block(shape.width, attention, FeedForward(shape.width, hidden))


def made(
    shape: Shape, family: Family, contexts: Sequence[int], places: Callable[[int], Sequence[Tensor]], seed: int
) -> dict[int, Model]:
    """Return the model for windows of each context; all share parameters that are drawn from a seed."""
    torch.manual_seed(seed)
    models = {context: Model(shape, family, context, places(context)) for context in contexts}
    first, *others = models.values()
    for other in others:
        _share(first, other)
    return models


def _share(model: nn.Module, other: nn.Module) -> None:
    for name, parameter in model.named_parameters(recurse=False):
        setattr(other, name, parameter)
    for (_, mine), (_, its) in zip(model.named_children(), other.named_children(), strict=True):
        _share(mine, its)
