"""The layers that a family's models differ in: each maps (B, N, E) to (B, N, E) and never sees a later token."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

import attncc
from attncc.nn.heads import merged_heads, split_heads
from attncc.nn.rotary import rotated
from attncc_memory.compression import Convolution
from attncc_memory.compressive import MemorySizes, compressive_attention
from attncc_memory.infini import infini_attention
from attncc_reformer.attention import lsh_attention
from attncc_selected.choosing import indexed_tokens
from attncc_transformer_xl.relative import widened


class Projected(nn.Module):
    """Projections around attention, with rotary positions; a subclass says what attends to what."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (split_heads(each(hidden), self.heads) for each in (self.query, self.key, self.value))
        out: Tensor = self.out(merged_heads(self.attend(rotated(query, 0), rotated(key, 0), value)))
        return out

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return attention on (B, H, N, D)."""
        raise NotImplementedError


class Patterned(Projected):
    """Attention under a pattern."""

    def __init__(self, width: int, heads: int, pattern: attncc.Pattern) -> None:
        super().__init__(width, heads)
        self.pattern = pattern.union().causal()  # a later key could give away the targets

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = attncc.attention(query, key, value, self.pattern)
        return out


class Hashed(Projected):
    """Reformer's attention: keys are queries of unit length, found by hashes that are drawn for each call."""

    def __init__(self, width: int, heads: int, rounds: int, chunk: int) -> None:
        super().__init__(width, heads)
        self.key = self.query  # shared
        self.sizes = {"rounds": rounds, "chunk": chunk}

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return lsh_attention(query, value, causal=True, **self.sizes)


class Indexed(Projected):
    """The tokens that an index finds best, beside a window: DeepSeek's sparse attention.

    The index is made of the attention's own queries and the mean of its keys. DeepSeek trains one apart, by a loss of
    its own.
    """

    def __init__(self, width: int, heads: int, top: int, window: int) -> None:
        super().__init__(width, heads)
        self.top, self.window = top, window

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, heads, n = query.shape[:3]
        tokens = indexed_tokens(query, key.mean(1), query.new_ones(batch, heads, n), min(self.top, n))
        pattern = attncc.load("selected_tokens", tokens=tokens.unsqueeze(1), window=self.window)
        out: Tensor = attncc.attention(query, key, value, pattern)
        return out


class Recurrent(Projected):
    """Transformer-XL: a segment, and as many tokens before it as its memory holds, by relative positions.

    All segments are computed at once. Gradients end at a segment's first token, as the paper's do: the memory's keys
    and values are made of hidden vectors without their history.
    """

    def __init__(self, width: int, heads: int, segment: int, memory: int) -> None:
        super().__init__(width, heads)
        self.content, self.place = (nn.Parameter(torch.zeros(heads, width // heads)) for _ in range(2))
        self.distance = nn.Parameter(torch.randn(heads, width // heads, width) * width**-0.5)
        self.own = attncc.load("block_diagonal", block=segment).causal()
        self.before = attncc.load("segment_memory", segment=segment, memory=memory) & ~self.own

    def forward(self, hidden: Tensor) -> Tensor:
        query = split_heads(self.query(hidden), self.heads)
        parts = []
        for source, pattern in ((hidden, self.own), (hidden.detach(), self.before)):
            key, value = (split_heads(each(source), self.heads) for each in (self.key, self.value))
            wide = widened(query, key, self.content, self.place, self.distance)
            scale = query.shape[-1] ** -0.5
            parts.append(attncc.attention(*wide, value, pattern, scale=scale, return_lse=True))
        out: Tensor = self.out(merged_heads(attncc.merge(*parts)[0]))
        return out


class Compressive(Projected):
    """A segment, a memory before it, and compressed memories before that: learnt sums of `ratio` neighbours."""

    def __init__(self, width: int, heads: int, sizes: MemorySizes) -> None:
        super().__init__(width, heads)
        mean = torch.eye(width // heads).expand(sizes.ratio, -1, -1) / sizes.ratio
        self.of_keys, self.of_values = nn.Parameter(mean.clone()), nn.Parameter(mean.clone())
        self.sizes = sizes

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return compressive_attention(query, key, value, self.sizes, Convolution(self.of_keys, self.of_values))


class Infini(Projected):
    """A segment, and a matrix that remembers the ones before (delta rule), joined by a gate for each head."""

    def __init__(self, width: int, heads: int, segment: int) -> None:
        super().__init__(width, heads)
        self.gate = nn.Parameter(torch.zeros(heads))
        self.attend = partial(infini_attention, gate=self.gate, segment=segment)  # type: ignore[method-assign]
