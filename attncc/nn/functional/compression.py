"""How old memories become fewer (Rae et al. 2020, section 3.1): means, maxima, a convolution, and the most used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from attncc.errors import ParameterError, ShapeError
from attncc.frontend.catalog import load
from attncc.frontend.patterns import Pattern
from attncc.nn.functional.parts import attended, blocks, wide

#: (key, value, usage, ratio) -> (key, value): n memories, (..., n, D) and (..., n, Dv) with usage (..., n), become
#: n / ratio.
Compression = Callable[[Tensor, Tensor, Tensor | None, int], tuple[Tensor, Tensor]]


def mean(key: Tensor, value: Tensor, usage: Tensor | None, ratio: int) -> tuple[Tensor, Tensor]:
    """Return the means of `ratio` neighbours."""
    return blocks(key, ratio).mean(-2), blocks(value, ratio).mean(-2)


def maximum(key: Tensor, value: Tensor, usage: Tensor | None, ratio: int) -> tuple[Tensor, Tensor]:
    """Return the greatest of `ratio` neighbours, in each channel."""
    return blocks(key, ratio).amax(-2), blocks(value, ratio).amax(-2)


@dataclass(frozen=True)
class Convolution:
    """A learned sum of `ratio` neighbours, with stride `ratio`.

    Attributes:
        key: (ratio, D, D), the matrix of each neighbour's key.
        value: (ratio, Dv, Dv).
    """

    key: Tensor
    value: Tensor

    def __call__(self, key: Tensor, value: Tensor, usage: Tensor | None, ratio: int) -> tuple[Tensor, Tensor]:
        """Return the sums; raises ShapeError unless the weights are for `ratio` neighbours."""
        return _convolved(key, self.key, ratio), _convolved(value, self.value, ratio)


def most_used(key: Tensor, value: Tensor, usage: Tensor | None, ratio: int) -> tuple[Tensor, Tensor]:
    """Return the n / ratio memories that got most attention, in their order; raises ParameterError without usage."""
    if usage is None:
        raise ParameterError(
            "usage=None for most_used.",
            rule="The most used memories are known by the attention that they got.",
            fix="Begin with a state that counts it: CompressiveState.empty(..., counts_usage=True).",
        )
    kept = usage.topk(usage.shape[-1] // ratio, dim=-1).indices.sort(-1).values
    return torch.take_along_dim(key, kept.unsqueeze(-1), -2), torch.take_along_dim(value, kept.unsqueeze(-1), -2)


def attention_received(query: Tensor, key: Tensor, pattern: Pattern, *, q_offset: int = 0) -> Tensor:
    """Return the sum of attention that each key gets from all queries, (B, Hkv, Nk), in float32 at least: no gradient.

    It is the gradient of attention to a value of one channel, so that it is computed on any pattern, in its time.

    Args:
        query: (B, H, Nq, D).
        key: (B, Hkv, Nk, D).
        pattern: Which keys the queries see.
        q_offset: The position of the first query.
    """
    with torch.enable_grad():
        value = wide(torch.zeros_like(key[..., :1])).requires_grad_()
        out, _ = attended(wide(query.detach()), wide(key.detach()), value, pattern, q_offset=q_offset)
        return torch.autograd.grad(out.sum(), value)[0].squeeze(-1)


def reconstruction_loss(query: Tensor, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> Tensor:
    """Return how far attention to compressed memories is from that to the old ones (Rae et al. 2020, algorithm 2).

    It trains a compression and nothing else: queries and old memories are detached. Compress detached memories, too.

    Args:
        query: (B, H, N, D).
        old: Keys (B, H, n, D) and values (B, H, n, Dv) before compression.
        new: Keys and values after it.

    Returns:
        The mean of squares, ().
    """
    full, fixed = load("full"), query.detach()
    before, _ = attended(fixed, old[0].detach(), old[1].detach(), full)
    after, _ = attended(fixed, *new, full)
    return mse_loss(after, before)


def _convolved(x: Tensor, weight: Tensor, ratio: int) -> Tensor:
    if tuple(weight.shape[:2]) != (ratio, x.shape[-1]):
        raise ShapeError(
            f"Convolution {tuple(weight.shape)} of {tuple(x.shape)} with ratio={ratio}.",
            rule="There is a matrix for each of `ratio` neighbours: (ratio, D, D).",
            fix=f"Give one of shape {(ratio, x.shape[-1], x.shape[-1])}.",
        )
    return torch.einsum("...rd,rde->...e", blocks(x, ratio), weight)
