"""A plain language model: pre-norm blocks between an embedding and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.block import Block
from attncc.nn.sizes import check_positive
from attncc.nn.stepwise import Stepwise


class LanguageModel(nn.Module):
    """Blocks between an embedding of tokens and a head that shares its weights.

    Args:
        vocabulary: Number of tokens.
        embed_dim: Size of a token's vector, E.
        blocks: At least one `Block`, such as `GatedBlock`.

    Raises:
        ParameterError: Without blocks.
    """

    def __init__(self, vocabulary: int, embed_dim: int, blocks: Sequence[Block]) -> None:
        super().__init__()
        check_positive(vocabulary=vocabulary, embed_dim=embed_dim)
        if not blocks:
            raise ParameterError("blocks is empty.", rule="A model has at least one.", fix="Pass a list of Block.")
        self.embedding = nn.Embedding(vocabulary, embed_dim)
        nn.init.normal_(self.embedding.weight, std=embed_dim**-0.5)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, N, vocabulary) of tokens (B, N), int64."""
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden)
        return self._logits(hidden)

    def step(self, tokens: Tensor, past: Sequence[Any] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the same for tokens that follow earlier ones, and the state of each block for the next step.

        Args:
            tokens: (B, N), int64.
            past: What the step before returned; None at the beginning.

        Raises:
            ParameterError: For a past of another number of blocks, or a block without a step.
        """
        if past and len(past) != len(self.blocks):
            raise ParameterError(
                f"past of {len(past)} blocks, in a model of {len(self.blocks)}.",
                rule="Each block has a state of its own.",
                fix="Pass what the step before returned.",
            )
        hidden, states = self.embedding(tokens), []
        for number, (block, own) in enumerate(zip(self.blocks, past or [None] * len(self.blocks), strict=True)):
            if not hasattr(block, "step"):
                raise ParameterError(
                    f"Block {number} is a {type(block).__name__}, which has no step.",
                    rule="A block with a step goes on from earlier tokens; a stack computes whole sequences alone.",
                    fix="Call the model on all tokens so far, or make it of Block and GatedBlock.",
                )
            hidden, state = cast(Stepwise, block).step(hidden, own)
            states.append(state)
        return self._logits(hidden), tuple(states)

    def _logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.norm(hidden) @ self.embedding.weight.T
        return found
