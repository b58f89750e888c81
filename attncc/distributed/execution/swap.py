"""Swaps of sequence for heads and back among the ranks of a part, differentiable (Jacobs et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attncc.distributed.execution.channel import Channel, PendingExchange
from attncc.distributed.execution.first_order import first_order_only
from attncc.distributed.execution.rows import DIM, with_rows

HEADS = 1
#: What the exchanges are in errors.
THERE, BACK = "the swap of sequence for heads", "the swap of heads for sequence"


@dataclass(frozen=True, eq=False)
class Swap:
    """Ranks that have the tokens of a part one after another, and each an equal share of all their heads in between.

    Attributes:
        rank: This one's number among them.
        tokens: Of each.
    """

    channel: Channel
    rank: int
    tokens: tuple[int, ...]

    def to_heads(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return all tokens (B, H / ranks, N, ...) of this rank's heads, given all heads of its tokens (B, H, n, ...).

        One exchange for all tensors, and one in the backward, whose gradients may be of any of them. Collective.
        """
        found: tuple[Tensor, ...] = _ToHeads.apply(self, *tensors)  # type: ignore[no-untyped-call]
        return found

    def to_tokens(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return all heads of this rank's tokens, given all tokens of its heads: undoes `to_heads`.

        Of tensors that require no gradient, none is exchanged in the backward.
        """
        found: tuple[Tensor, ...] = _ToTokens.apply(self, *tensors)  # type: ignore[no-untyped-call]
        return found

    def heads_of_all(self, tensors: Sequence[Tensor], what: str) -> tuple[Tensor, ...]:
        """Swap without gradient; errors say that it is `what`."""
        shares = [x.chunk(len(self.tokens), HEADS) for x in tensors]
        return self._swapped(shares, self.tokens, DIM, what)

    def tokens_of_own(self, tensors: Sequence[Tensor], what: str) -> tuple[Tensor, ...]:
        """Undo heads_of_all."""
        parts = [torch.split(x, list(self.tokens), DIM) for x in tensors]
        return self._swapped(parts, [self.tokens[self.rank]] * len(self.tokens), HEADS, what)

    def _swapped(
        self, given: Sequence[Sequence[Tensor]], tokens: Sequence[int], dim: int, what: str
    ) -> tuple[Tensor, ...]:
        """Give each rank its piece of each tensor, and join what they give, `tokens` of each rank, along `dim`."""
        pending = PendingExchange()
        peers = [peer for peer in range(len(self.tokens)) if peer != self.rank]
        for peer in peers:
            for pieces in given:
                own = pieces[self.rank]
                pending.send(peer, pieces[peer])
                pending.expect(peer, with_rows(own.shape, tokens[peer]), own.dtype)
        received = pending.post(self.channel, given[0][0].device, what).wait()
        joined = []
        for number, pieces in enumerate(given):
            parts = received[number :: len(given)]
            parts.insert(self.rank, pieces[self.rank])
            joined.append(torch.cat(parts, dim))
        return tuple(joined)


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swap: Swap, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.swap = swap
        return swap.heads_of_all(tensors, THERE)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *grads: Tensor) -> tuple[tuple[Any, ...], Sequence[Tensor]]:
        return (None, *ctx.swap.tokens_of_own(grads, f"the backward of {THERE}")), ()


class _ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swap: Swap, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.swap = swap
        found = swap.tokens_of_own(tensors, BACK)
        ctx.mark_non_differentiable(
            *(x for x, needed in zip(found, ctx.needs_input_grad[1:], strict=True) if not needed)
        )
        return found

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *grads: Tensor) -> tuple[tuple[Any, ...], Sequence[Tensor]]:
        needed = ctx.needs_input_grad[1:]
        given = [grad for grad, wanted in zip(grads, needed, strict=True) if wanted]
        found = iter(ctx.swap.heads_of_all(given, f"the backward of {BACK}"))
        return (None, *(next(found) if wanted else None for wanted in needed)), ()
