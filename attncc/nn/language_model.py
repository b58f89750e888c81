"""A plain language model: pre-norm blocks between an embedding and a head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.attention import Attention, KeyValues
from attncc.nn.feed_forward import FeedForward
from attncc.nn.sizes import check_positive


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and beside what it gets.

    Args:
        attention: From (B, N, E) to (B, N, E).
        feed_forward: The same for single tokens; two affine maps by default.
    """

    def __init__(self, embed_dim: int, attention: Attention, feed_forward: nn.Module | None = None) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        self.attention = attention
        self.feed_forward = feed_forward or FeedForward(embed_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the block's result on (B, N, E)."""
        return self.step(hidden)[0]

    def step(self, hidden: Tensor, past: KeyValues | None = None) -> tuple[Tensor, KeyValues]:
        """Return the same for tokens that follow earlier ones, and all keys and values; see `Attention.step`."""
        attended, seen = self.attention.step(self.attention_norm(hidden), past)
        hidden = hidden + attended
        return hidden + self.feed_forward(self.feed_forward_norm(hidden)), seen


class LanguageModel(nn.Module):
    """Blocks between an embedding of tokens and a head that shares its weights.

    Args:
        vocabulary: Number of tokens.
        embed_dim: Size of a token's vector, E.
        blocks: At least one.

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
        return self.step(tokens)[0]

    def step(self, tokens: Tensor, past: Sequence[KeyValues] | None = None) -> tuple[Tensor, tuple[KeyValues, ...]]:
        """Return the same for tokens that follow earlier ones, and what the next step needs.

        Args:
            tokens: (B, N), int64.
            past: What the step before returned; None at the beginning.
        """
        if past and len(past) != len(self.blocks):
            raise ParameterError(
                f"past of {len(past)} blocks, in a model of {len(self.blocks)}.",
                rule="Each block has keys and values of its own.",
                fix="Pass what the step before returned.",
            )
        hidden, seen = self.embedding(tokens), []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            hidden, own = block.step(hidden, past[number] if past else None)
            seen.append(own)
        return self.norm(hidden) @ self.embedding.weight.T, tuple(seen)
