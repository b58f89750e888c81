"""Pools of pages as attention takes them: keys and values that all sequences share, or each sequence's own copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from attncc.errors import ShapeError, refuse_traced
from attncc.frontend.pages import paged_in_graph
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.sequences import placed_in_graph, score_in_graph
from attncc.ir.tables import Array
from attncc.runtime.sequences import Lengths, columns_in_graph

RULE = (
    "It is (B, n), integers: position p of sequence b lies in page block_table[b, p // size]; -1 where there is none."
)


class Laid(NamedTuple):
    """What attention takes of sequences whose keys lie in pools.

    Attributes:
        key, value: (B, Hkv, rows, D) and (B, Hkv, rows, Dv).
        pattern, score: Of the sequences, with the keys where they are.
    """

    key: Tensor
    value: Tensor
    pattern: Pattern
    score: Score


def needs_gradient(*tensors: Tensor) -> bool:
    """Return whether a gradient is required; each sequence's keys are copied then."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def shared(caches: Sequence[Tensor], batch: int) -> list[Tensor]:
    """Return pools (pages, size, Hkv, D) as keys that all sequences see, (B, Hkv, pages * size, D)."""
    return [x.flatten(0, 1).transpose(0, 1).expand(batch, -1, -1, -1) for x in caches]


def copied(caches: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
    """Return the rows of each sequence, (B, N), of pools (pages, size, Hkv, D), as its keys: (B, Hkv, N, D)."""
    return [x.flatten(0, 1)[rows].transpose(1, 2) for x in caches]


def laid_in_graph(
    q: Tensor,
    caches: Sequence[Tensor],
    block_table: Tensor | Array,
    cache_seqlens: Lengths,
    q_offset: Lengths | None,
    pattern: Pattern,
    score: Score,
) -> Laid:
    """Return what attention takes where a graph is recorded: page table, lengths and offsets are inputs of it.

    Raises ShapeError unless they are for this batch; what they hold is asserted when the graph runs.
    """
    batch, n_q, (pages, size) = q.shape[0], q.shape[1], caches[0].shape[:2]
    n_k = columns_in_graph(batch, q.device, cache_seqlens=cache_seqlens)["cache_seqlens"].to(q.device)
    offsets = n_k - n_q if q_offset is None else q_offset
    columns = columns_in_graph(batch, q.device, q_offset=offsets) | {"kv_len": n_k}
    table = torch.as_tensor(block_table, device=q.device)
    if table.ndim != 2 or table.shape[0] != batch or table.is_floating_point() or table.dtype == torch.bool:
        raise ShapeError("block_table doesn't fit the batch.", rule=RULE, fix="Give a row to each sequence.")
    if table.shape[1] == 0:
        table = table.new_full((batch, 1), -1)
    places = torch.arange(table.shape[1] * size, device=q.device)
    used = places[::size] < n_k[:, None]
    fits = (n_k >= 0) & (n_k <= len(places))
    torch._assert_async(fits.all(), "cache_seqlens has fewer keys than 0, or more than block_table has pages for.")
    known = (table < pages) & (table >= torch.where(used, 0, -1))
    torch._assert_async(known.all(), "block_table has pages that aren't in the pool, or too few for cache_seqlens.")
    placed = placed_in_graph(pattern, columns)
    own = score_in_graph(score, columns)
    if not needs_gradient(q, *caches, *score.tensors):
        key, value = shared(caches, batch)
        return Laid(key, value, paged_in_graph(placed, n_k, table, size), own)
    kept = torch.where(places < n_k[:, None], places, 0)  # as Pages.rows has it
    rows = table.gather(1, kept // size).clamp(min=0) * size + kept % size
    key, value = copied(caches, rows)
    return Laid(key, value, placed, own)


def refuse_batch_invariance() -> NoReturn:
    """Raise ShapeError for a batch-invariant call in a graph that is recorded."""
    problem = "paged_attention(batch_invariant=True) is called inside of a function that torch.compile traces."
    rule = "Each sequence is planned by its own number of keys, which a graph doesn't know."
    fix = "Call it in a function under @torch.compiler.disable, without fullgraph=True."
    refuse_traced(ShapeError, problem, rule=rule, fix=fix)
    raise ShapeError(problem, rule=rule, fix=fix)  # of another recorder, such as torch.jit.trace
