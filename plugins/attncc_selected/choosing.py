"""Lists of blocks and tokens, made of scores: causal, of equal scores the earlier one, and -1 for none.

They aren't differentiated: a model learns through the keys that were chosen, through gates, or by a loss of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from attncc import ParameterError, ShapeError

#: Scores that are made at a time.
CHUNK = 1 << 22


def best(scores: Tensor, top: int) -> Tensor:
    """Return which `top` of the last dimension have the greatest scores, (..., top), ascending; -1 in front for none.

    Args:
        scores: (..., N), of a floating dtype; -inf is never chosen. Of equal scores the earlier one is.
        top: How many, 1 to N.

    Raises:
        ParameterError: For a `top` outside of 1 to N.
    """
    size = scores.shape[-1]
    _check_top(top, size)
    scores = scores.detach()
    greatest, where = scores.topk(top)
    least = greatest[..., -1:]
    above = greatest > least
    number = torch.arange(size, dtype=torch.int32, device=scores.device)
    equal = torch.where(scores == least, number, size).topk(top, largest=False).values
    room = top - above.sum(-1, keepdim=True)
    fits = (number[:top] < room) & (equal < size) & (least > -torch.inf)
    ascending: Tensor = torch.cat([where.where(above, -1), equal.where(fits, -1)], -1).sort(-1).values
    return ascending[..., top:]


def block_means(x: Tensor, block: int) -> Tensor:
    """Return the mean of each block of `block` positions, (B, H, ceil(N / block), D); the last may be shorter."""
    sums = _sums(x, block)
    sizes = torch.full((sums.shape[2], 1), block, dtype=x.dtype, device=x.device)
    sizes[-1] -= -x.shape[2] % block
    return sums / sizes


def moba_blocks(query: Tensor, key: Tensor, top: int, *, block: int = 64, queries: int = 1) -> Tensor:
    """Return the earlier blocks of `moba`, by mean keys (Lu et al. 2025, equations 5 to 7).

    Args:
        query: (B, H, N, D).
        key: (B, Hkv, N, D), where Hkv divides H.
        top: Blocks a query sees in all, its own included, as the paper counts them.
        block: Positions of a block of keys.
        queries: Neighbouring queries that share a list, by their mean; a divisor of `block`.

    Returns:
        Lists (B, H, ceil(N / queries), top - 1), without the own block, or one column of -1 for a `top` of 1.

    Raises:
        ParameterError: For a `top` that isn't from 1 to the number of blocks, or `queries` that don't divide `block`.
    """
    _check_divides("queries", queries, "block", block)
    query, key = query.detach(), key.detach()
    scores = (block_means(query, queries) if queries > 1 else query) @ _for_queries(block_means(key, block), query).mT
    own = torch.arange(scores.shape[2], device=scores.device)[:, None] * queries // block
    number = torch.arange(scores.shape[3], device=scores.device)
    chosen = best(scores.masked_fill(number >= own, -torch.inf).masked_fill(number == own, torch.inf), top)
    others = chosen.masked_fill(chosen == own, -1).sort(-1).values
    return others[..., 1:] if top > 1 else others


def nsa_blocks(
    query: Tensor,
    compressed: Tensor,
    top: int,
    *,
    block: int = 64,
    compression: tuple[int, int] = (32, 16),
    queries: int = 1,
    scale: float | None = None,
) -> Tensor:
    """Return the blocks of `selected_blocks`, alike in the heads of a group (Yuan et al. 2025, equations 8 to 10).

    The weights of the compressed keys are those of the blocks with which they share strides. The first block, the
    query's own and the one before it are always chosen, and count.

    Args:
        query: (B, H, N, D).
        compressed: Compressed keys, (B, Hkv, C, D), where Hkv divides H.
        top: Blocks that a query sees, at least the three that are always chosen, or all if there are fewer.
        block: Positions of a block of keys, a multiple of the stride.
        compression: (block, stride) of the compressed keys, the block a multiple of the stride.
        queries: Neighbouring queries that share a list, that of their summed weights; a divisor of `block`.
        scale: Of the products, 1 / sqrt(D) by default.

    Returns:
        Lists (B, H, ceil(N / queries), top).

    Raises:
        ParameterError: For sizes that don't divide each other, or a `top` that leaves out a block that is always
            chosen, or is above the number of blocks.
    """
    length, stride = compression
    _check_divides("the compression's stride", stride, "its block", length)
    _check_divides("the compression's stride", stride, "block", block)
    _check_divides("queries", queries, "block", block)
    heads, groups = query.shape[1], compressed.shape[1]
    keys, blocks = _for_queries(compressed, query).detach(), -(-query.shape[2] // block)
    if top < min(3, blocks):
        raise ParameterError(
            f"top={top} of {blocks} blocks.",
            rule="The first block, the query's own and the one before it are always chosen, and count.",
            fix=f"Use top={min(3, blocks)} or more.",
        )
    shared = _shared_strides(keys.shape[2], length, stride, blocks, block).to(keys)
    ends = torch.arange(keys.shape[2], device=keys.device) * stride + length - 1
    number = torch.arange(blocks, device=keys.device)
    chosen = []
    for first, rows in _chunks(query.detach() * (query.shape[-1] ** -0.5 if scale is None else scale), keys, queries):
        position = first + torch.arange(rows.shape[2], device=keys.device)
        scores = (rows @ keys.mT).masked_fill_(ends > position[:, None], -torch.inf)
        weights = scores.softmax(-1).nan_to_num_(0.0)  # the first queries see none
        weights = weights.reshape(-1, groups, heads // groups, *weights.shape[2:]).sum(2)
        importance = _sums(weights, queries) @ shared
        own = (position[::queries] // block)[:, None]
        always = (number == 0) | ((number <= own) & (number >= own - 1))
        chosen.append(best(importance.masked_fill(always, torch.inf).masked_fill(number > own, -torch.inf), top))
    return torch.cat(chosen, 2).repeat_interleave(heads // groups, 1)


def indexed_tokens(query: Tensor, key: Tensor, weights: Tensor, top: int) -> Tensor:
    """Return the tokens of `selected_tokens` by DeepSeek's lightning indexer (DeepSeek-AI 2025, V3.2, equation 1).

    The score of a pair is the sum over the indexer's heads of weight * relu(query . key).

    Args:
        query: (B, H, N, D), of the indexer.
        key: (B, N, D), one for all its heads.
        weights: (B, H, N).
        top: Tokens that a query sees at most, itself or not.

    Returns:
        Lists (B, N, top), the same for all heads of the attention.

    Raises:
        ParameterError: For a `top` that isn't from 1 to N.
    """
    _check_top(top, key.shape[1])
    key, weights = key.detach(), weights.detach()
    found = []
    for first, rows in _chunks(query.detach(), key[:, None], 1):
        end = first + rows.shape[2]  # later keys are seen by none of these queries
        scores = (rows @ key[:, None, :end].mT).relu_().mul_(weights[:, :, first:end, None]).sum(1)
        later = torch.ones_like(scores[0], dtype=torch.bool).triu(first + 1)
        most = min(top, end)
        chosen = best(scores.masked_fill_(later, -torch.inf), most)
        found.append(torch.nn.functional.pad(chosen, (top - most, 0), value=-1))
    return torch.cat(found, 1)


def _chunks(query: Tensor, key: Tensor, multiple: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (first, queries) of chunks, of multiples of so many, whose scores fit CHUNK; at least one multiple."""
    scores = query.shape[0] * query.shape[1] * key.shape[2] * multiple
    rows = multiple * max(1, CHUNK // scores)
    for first in range(0, query.shape[2], rows):
        yield first, query[:, :, first : first + rows]


def _sums(x: Tensor, block: int) -> Tensor:
    """Return the sum of each block of positions, (B, H, ceil(N / block), D)."""
    short = -x.shape[2] % block
    x = torch.nn.functional.pad(x, (0, 0, 0, short)) if short else x
    return x.reshape(*x.shape[:2], -1, block, x.shape[3]).sum(3)


def _for_queries(key: Tensor, query: Tensor) -> Tensor:
    """Return keys with a head for each of the query's."""
    if query.shape[1] % key.shape[1]:
        raise ShapeError(
            f"{query.shape[1]} heads of queries and {key.shape[1]} of keys.",
            rule="Each head of keys serves as many heads of queries.",
            fix="Use a number of key heads that divides that of query heads.",
        )
    return key.repeat_interleave(query.shape[1] // key.shape[1], 1)


def _shared_strides(compressed: int, length: int, stride: int, blocks: int, block: int) -> Tensor:
    """Return how many strides each compressed key has in common with each block, (compressed, blocks)."""
    first = torch.arange(compressed)[:, None] * stride
    start = torch.arange(blocks) * block
    shared = torch.minimum(first + length, start + block) - torch.maximum(first, start)
    return shared.clamp(min=0) // stride


def _check_top(top: int, size: int) -> None:
    if not 1 <= top <= size:
        raise ParameterError(
            f"top={top} of {size} blocks or tokens.",
            rule=f"`top` is from 1 to as many as there are, {size}.",
            fix="Choose fewer, or use smaller blocks.",
        )


def _check_divides(part: str, size: int, whole: str, of: int) -> None:
    if not isinstance(size, int) or not isinstance(of, int) or min(size, of) < 1 or of % size:
        raise ParameterError(
            f"{part} = {size} and {whole} = {of}.",
            rule=f"Both are positive integers, and {part} divides {whole}.",
            fix=f"Use a divisor of {of}.",
        )
