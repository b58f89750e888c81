"""paged_attention(): attention of sequences whose keys and values lie in pages of pools that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from attncc._util.tracing import is_recording
from attncc.configs.encoding import Config
from attncc.errors import ShapeError
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.apart import apart
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern
from attncc.frontend.sequences import Sequences, numbers_of_each
from attncc.ir.tables import Array
from attncc.runtime.arguments import autocast, kind_of
from attncc.runtime.batch_invariant import BatchPart, one_by_one, runs_together
from attncc.runtime.call import AttentionCall, Result
from attncc.runtime.dispatch import run_call
from attncc.runtime.pools import RULE, Laid, copied, laid_in_graph, needs_gradient, refuse_batch_invariance, shared
from attncc.runtime.score_module import warn_of_captured
from attncc.runtime.sequences import Lengths, content_of_each, placed_score
from attncc.runtime.versions import Content, array_of, content

#: Makes the pattern of a batch of one's sequences and of where their keys lie, None for at their positions.
Place = Callable[[Pattern, Sequences, Pages | None], Pattern]


def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor | Array,
    cache_seqlens: Lengths,
    pattern: AnyPattern,
    *,
    q_offset: Lengths | None = None,
    score: AnyScore = None,
    weights: Mapping[str, Tensor] | None = None,
    sink: Tensor | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    return_max_scores: bool = False,
    batch_invariant: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> Result:
    """Return softmax attention of each sequence over its keys in a paged cache, those that `pattern` connects it to.

    The arguments are those of FlashAttention's flash_attn_with_kvcache (Dao 2023), and sequences are aligned as there:
    the last query of each stands at its last key. The pattern and the score see a sequence's own positions; pages are
    looked at where keys are loaded, and only the keys of tiles that the plan visits are. Pages may be shared, as those
    of a common prefix are. Page tables and lengths that aren't changed in place are read once; on a GPU, reading them
    waits for it. In a graph of torch.compile they are inputs.

    Where a gradient is required, each sequence's keys are copied next to each other first. The gradient of a pool is 0
    in rows that are nobody's keys, and in shared pages the sum over sequences.

    Args:
        q: (B, Nq, Hq, D), the queries, of one floating dtype and device with the caches.
        k_cache: (pages, size, Hkv, D), the keys, those of this call among them.
        v_cache: (pages, size, Hkv, Dv).
        block_table: (B, n), integers on any device: the pages of each sequence in order, -1 where there is none.
        cache_seqlens: The keys of each sequence, (B,), or a number for all.
        pattern: A pattern, or a declared one that needs no parameters.
        q_offset: The position of the first query, (B,) or a number; by default cache_seqlens - Nq.
        score: As in `attention`.
        weights: As in `attention`.
        sink: As in `attention`.
        scale: As in `attention`.
        enable_gqa: As in `attention`.
        return_lse: Return lse beside out.
        return_max_scores: As in `attention`.
        batch_invariant: As in `attention`.
        backend: As in `attention`.
        config: As in `attention`.

    Returns:
        out, (B, Nq, Hq, Dv) in q's dtype, a view of a tensor with heads before rows; with `return_lse` (out, lse), lse
        being (B, Hq, Nq), float32 (float64 for float64). With `return_max_scores` the greatest scores are the last of
        the tuple, in lse's shape and dtype.

    Raises:
        ShapeError: The caches aren't pools of pages, or page table or lengths don't fit them.
        AttnccError: What `attention` raises.
    """
    _check_pools(q, k_cache, v_cache)
    own_pattern, own_score = accepted_pattern(pattern), accepted_score(score, weights)
    warn_of_captured(score, weights)
    batch, pages, size = q.shape[0], k_cache.shape[0], k_cache.shape[1]
    config = config or {} if batch_invariant else config
    options = scale, enable_gqa, return_lse, return_max_scores
    call = AttentionCall.of(own_pattern, own_score, 0, backend, config, *options)
    if is_recording():
        if batch_invariant:
            refuse_batch_invariance()
        query, *caches = autocast(q, k_cache, v_cache)
        laid = laid_in_graph(query, caches, block_table, cache_seqlens, q_offset, own_pattern, own_score)
        return _attended(query, laid, call, sink)
    lengths = content_of_each(cache_seqlens, "cache_seqlens", batch)
    offsets = None if q_offset is None else content_of_each(q_offset, "q_offset", batch)
    if not batch:
        query, *caches = autocast(q, k_cache, v_cache)
        key, value = copied(caches, torch.empty((0, 0), dtype=torch.int64, device=q.device))
        return _attended(query, Laid(key, value, own_pattern, own_score), call, sink)
    cache = PagedCache(k_cache, v_cache, _table(content(block_table), lengths, pages, size))
    whole = BatchPart(slice(None), _sequences(lengths, offsets, q.shape[1]), own_pattern, own_score, sink)
    if not batch_invariant:
        return _of_part(q, cache, call, whole, _placed)
    if runs_together(q, k_cache, v_cache, call, own_pattern):
        return _of_part(q, cache, call, whole, apart)
    return one_by_one(lambda part: _of_part(q[part.entries], cache.of(part), call, part, _placed), whole)


class PagedCache(NamedTuple):
    """Keys and values in pools, (pages, size, Hkv, D), and which pages are whose."""

    key: Tensor
    value: Tensor
    pages: Pages

    def of(self, part: BatchPart) -> PagedCache:
        """Return the cache of a part of the batch that is a single entry."""
        return self._replace(pages=self.pages.entry(part.entries.start))


def _of_part(q: Tensor, cache: PagedCache, call: AttentionCall, part: BatchPart, place: Place) -> Result:
    """Return the results of a part of the batch, whose queries these are; `place` makes the pattern that is planned."""
    query, *caches = autocast(q, cache.key, cache.value)
    if needs_gradient(q, cache.key, cache.value, *part.score.tensors):
        pages, rows = None, torch.from_numpy(cache.pages.all_rows).to(q.device)
        key, value = copied(caches, rows)
    else:
        pages = cache.pages
        key, value = shared(caches, len(q))
    pattern, score = place(part.pattern, part.sequences, pages), placed_score(part.score, part.sequences)
    return _attended(query, Laid(key, value, pattern, score), call, part.sink)


def _attended(query: Tensor, laid: Laid, call: AttentionCall, sink: Tensor | None) -> Result:
    """Return the results of a call on tensors with rows before heads."""
    key, value, pattern, score = laid
    result = run_call(query.transpose(1, 2), key, value, call.on(pattern, score), pattern, score, sink)
    if isinstance(result, tuple):
        return result[0].transpose(1, 2), *result[1:]
    return result.transpose(1, 2)


def _placed(pattern: Pattern, sequences: Sequences, pages: Pages | None) -> Pattern:
    """Return the pattern of sequences whose keys lie in pages, None for at their positions."""
    placed = sequences.pattern(pattern)
    return placed if pages is None else pages.on(placed)


@lru_cache(maxsize=64)
def _sequences(lengths: Content, offsets: Content | None, q_len: int) -> Sequences:
    n_k = array_of(lengths)
    return Sequences(n_k - q_len if offsets is None else array_of(offsets), n_k)


@lru_cache(maxsize=64)
def _table(block_table: Content, lengths: Content, pages: int, size: int) -> Pages:
    """Return a page table that is one of sequences of these lengths; raises ShapeError for what isn't."""
    table, n_k = array_of(block_table), numbers_of_each(array_of(lengths), "cache_seqlens", 0)
    if table.ndim != 2 or table.dtype.kind not in "iu" or len(table) != len(n_k):
        raise ShapeError(
            f"block_table has shape {table.shape} and dtype {table.dtype}, and there are {len(n_k)} sequences.",
            rule=RULE,
            fix="Give a row to each sequence, and fill up shorter ones with -1.",
        )
    used = np.arange(table.shape[1]) * size < n_k[:, None]
    if n_k.max(initial=0) > table.shape[1] * size:
        raise ShapeError(
            f"cache_seqlens has {n_k.max()}, and block_table {table.shape[1]} pages of {size} keys.",
            rule=RULE,
            fix="Give each sequence a page for each `size` keys that it has begun.",
        )
    for entry, number in np.argwhere((table >= pages) | (table < np.where(used, 0, -1)))[:1]:
        raise ShapeError(
            f"block_table[{entry}, {number}] is {table[entry, number]}, of {pages} pages, "
            f"and sequence {entry} has {n_k[entry]} keys in pages of {size}.",
            rule=RULE,
            fix="Give each sequence a page, a number below that of pages, for each `size` keys that it has begun.",
        )
    return Pages(table if table.shape[1] else np.full((len(n_k), 1), -1), n_k, size)


def _check_pools(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> None:
    """Raise ShapeError unless these are queries, and pools of equally many pages of one size."""
    named = {"q": q, "k_cache": k_cache, "v_cache": v_cache}
    for name, x in named.items():
        if not isinstance(x, Tensor) or x.is_nested or x.ndim != 4:
            given = f"has shape {tuple(x.shape)}" if isinstance(x, Tensor) and not x.is_nested else f"is a {kind_of(x)}"
            raise ShapeError(
                f"{name} {given}.",
                rule="q is (B, Nq, Hq, D), k_cache (pages, size, Hkv, D) and v_cache (pages, size, Hkv, Dv).",
                fix="Tokens come before heads: of (B, H, N, D) they are x.transpose(1, 2).",
            )
    if k_cache.shape[:3] != v_cache.shape[:3] or 0 in k_cache.shape[:2]:
        raise ShapeError(
            f"k_cache has shape {tuple(k_cache.shape)}, v_cache {tuple(v_cache.shape)}.",
            rule="Both are pools of equally many pages of one size, at least one, with the same heads.",
            fix="Give each key its value in the same page.",
        )
