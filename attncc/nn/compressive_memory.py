"""Compressive Transformers (Rae et al. 2020): a memory of tokens, and of compressed ones before them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.functional import compressive
from attncc.nn.functional.compression import Compression, Convolution, mean
from attncc.nn.functional.compressive import CompressiveState, MemorySizes
from attncc.nn.heads import HeadProjections
from attncc.nn.rotary import rotated
from attncc.nn.sizes import check_positive


class CompressiveMemory(HeadProjections):
    """Attention to the own segment, to the tokens before it, and to compressed ones before these (section 3.1).

    A whole sequence is computed at once, without a state; `step` goes along it, with the same numbers and gradients.

    Args:
        embed_dim: Size of a token's vector, E.
        num_heads: Query heads, Hq, of E / Hq each.
        sizes: How much is kept.
        compression: What a segment's keys and values become when it leaves the memory: `mean`, `maximum` or `most_used`
            of `attncc.nn.functional.compression`, or a `LearnedCompression`.
        counts_usage: Whether the attention that memories get is counted, as `most_used` needs.
        num_key_heads: Key heads, Hkv, which divide Hq; as many by default.
        rotary: Whether queries and keys carry rotary positions. Keys do before they are compressed.
        bias: Whether projections have biases.

    Raises:
        ParameterError: For heads that don't divide E, or sizes that don't fit together.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        sizes: MemorySizes,
        *,
        compression: Compression = mean,
        counts_usage: bool = False,
        num_key_heads: int | None = None,
        rotary: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(embed_dim, num_heads, num_key_heads, bias)
        if not isinstance(sizes, MemorySizes) or not callable(compression):
            raise ParameterError(
                f"sizes={sizes!r:.200}, compression={compression!r:.200}.",
                rule="Sizes are MemorySizes, and a compression is a function of keys and values.",
                fix="Use MemorySizes(segment=512, memory=512, compressed=128, ratio=4) and mean, for example.",
            )
        sizes.check()
        self.sizes, self.compression, self.counts_usage, self.rotary = sizes, compression, counts_usage, rotary

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what each token of (B, N, E) attends to, (B, N, E)."""
        self._check(hidden)
        given = *self._heads(hidden, 0), self.sizes, self.compression
        return self.projected(compressive.compressive_attention(*given, counts_usage=self.counts_usage))

    def step(self, hidden: Tensor, past: CompressiveState | None = None) -> tuple[Tensor, CompressiveState]:
        """Return the same for tokens that follow earlier ones, and the state for the next step.

        Args:
            hidden: (B, N, E), of any N.
            past: What the step before returned; None at the beginning. Where gradients shall end, `past.detached()`.

        Raises:
            ShapeError: For tokens of another size, or a past of another batch.
        """
        self._check(hidden, past.key if past else None)
        query, key, value = self._heads(hidden, past.position if past else 0)
        state = past or CompressiveState.empty(key, value, counts_usage=self.counts_usage)
        out, state = compressive.step(query, key, value, state, self.sizes, self.compression)
        return self.projected(out), state

    def auxiliary_loss(self, hidden: Tensor) -> Tensor:
        """Return the attention-reconstruction loss of (B, N, E), which trains the compression alone (algorithm 2).

        It is a mean of squares, (); 0 if the sequence is too short for a segment to leave the memory.
        """
        with torch.no_grad():
            heads = self._heads(hidden, 0)
        return compressive.compression_loss(*heads, self.sizes, self.compression, counts_usage=self.counts_usage)

    def _heads(self, hidden: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, the first of them at a position."""
        query, (key, value) = self.queries(hidden), self.keys_and_values(hidden)
        return (rotated(query, first), rotated(key, first), value) if self.rotary else (query, key, value)


class LearnedCompression(nn.Module):
    """A convolution of neighbouring memories with stride `ratio`, which begins as their mean (section 3.2).

    Args:
        head_dim: Channels of a head, E / Hq.
        ratio: Memories that become one; that of the sizes.

    Raises:
        ParameterError: For sizes below 1.
    """

    def __init__(self, head_dim: int, ratio: int) -> None:
        super().__init__()
        check_positive(head_dim=head_dim, ratio=ratio)
        average = torch.eye(head_dim).expand(ratio, -1, -1) / ratio
        self.key, self.value = (nn.Parameter(average.clone()) for _ in range(2))

    def forward(self, key: Tensor, value: Tensor, usage: Tensor | None, ratio: int) -> tuple[Tensor, Tensor]:
        """Return keys (..., n, D) and values (..., n, Dv) as n / ratio of each; see `Compression`."""
        return Convolution(self.key, self.value)(key, value, usage, ratio)
