"""Segment-level recurrence of Transformer-XL (Dai et al. 2019): a memory between segments, and relative positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attncc.frontend.catalog import load
from attncc.frontend.patterns import Pattern
from attncc.nn.functional.parts import Part, attended
from attncc.nn.functional.relative import widened
from attncc.nn.heads import HeadProjections
from attncc.nn.sizes import check_positive
from attncc.runtime.merging import merge


class SegmentRecurrent(HeadProjections):
    """Attention to the own segment and to a memory of the tokens before it (Dai et al. 2019, sections 3.2 and 3.3).

    Each token sees its segment up to itself, and `memory` tokens before the segment. These are hidden states, which are
    projected anew, and gradients end there, but for those of the projections. Scores are
    ((q_i + u) k_j + (q_i + v) W r_{i-j}) / sqrt(D), for sinusoids r of the distance.

    A whole sequence is computed at once, with the numbers and gradients of its segments one after the other. No
    parameter depends on the sizes: a layer that has `segment=1` and the same `state_dict` is a window of memory + 1
    tokens, with which models are evaluated (appendix B).

    Args:
        embed_dim: Size of a token's vector, E.
        num_heads: Heads, H, of D = E / H each.
        segment: Tokens of a segment, L.
        memory: Tokens before the segment that are seen, M; 0 for none.
        position_dim: Channels of r, even; D by default. The paper has E, at a cost of (D + E) / D products.
        bias: Whether projections have biases.

    Raises:
        ParameterError: For heads that don't divide E, or sizes that there aren't.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        segment: int = 256,
        memory: int = 256,
        position_dim: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__(embed_dim, num_heads, bias=bias)
        position_dim = self.head_dim if position_dim is None else position_dim
        check_positive(position_dim=position_dim)
        self.segment, self.memory = segment, memory
        seen = load("segment_memory", segment=segment, memory=memory)
        self._own = load("segment_memory", segment=segment, memory=0)
        self._earlier = seen & ~self._own
        self.relative = nn.Linear(position_dim, embed_dim, bias=False)
        self.content_bias, self.position_bias = (nn.Parameter(torch.zeros(num_heads, self.head_dim)) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what each token of (B, N, E) attends to, (B, N, E)."""
        return self.step(hidden)[0]

    def step(self, hidden: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the same for tokens that follow earlier ones, and the memory for the next step.

        Args:
            hidden: (B, N, E), of any N.
            past: What the step before returned, (B, m, E); its first token begins a segment. None at the beginning.

        Raises:
            ShapeError: For tokens of another size, or a past of another batch.
        """
        self._check(hidden, past)
        seen = hidden if past is None else torch.cat([past, hidden], 1)
        first = (seen.shape[1] - hidden.shape[1]) // self.segment * self.segment  # where the first query's segment is
        query = self.queries(hidden)
        parts = [self._attended(query, seen[:, first:], self._own), self._attended(query, seen.detach(), self._earlier)]
        return self.projected(merge(*parts)[0]), self._kept(seen)

    def _attended(self, query: Tensor, seen: Tensor, pattern: Pattern) -> Part:
        """Return (out, lse) of the queries, which are the last tokens of what is seen, (B, n, E)."""
        key, value = self.keys_and_values(seen)
        biases = self.content_bias.to(query.dtype), self.position_bias.to(query.dtype)
        wide_query, wide_key = widened(query, key, *biases, self.relative.weight.view(*biases[0].shape, -1))
        offset = seen.shape[1] - query.shape[2]
        return attended(wide_query, wide_key, value, pattern, q_offset=offset, scale=self.head_dim**-0.5)

    def _kept(self, seen: Tensor) -> Tensor:
        """Return the whole segments that hold the memory, without their history, and the segment so far."""
        last = seen.shape[1] // self.segment * self.segment
        first = max(0, last - -(-self.memory // self.segment) * self.segment)
        earlier, own = seen[:, first:last].detach(), seen[:, last:]
        return torch.cat([earlier, own], 1) if own.shape[1] else earlier  # nothing has a history, too
