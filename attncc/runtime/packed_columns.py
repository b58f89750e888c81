"""Packed documents whose ends aren't read on the host: what is looked up of them is computed where they lie.

That is on a GPU, where nothing waits for it, or in a graph, whose inputs `cu_seqlens` are then.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from attncc import backends
from attncc._util.tracing import constant, is_recording
from attncc.frontend.documents import LOOKED_UP, looks_gaps_up, packed_in_graph, packed_there, score_in_graph
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.ir.claims import CHECK
from attncc.ir.functions import Lookup
from attncc.ir.score import by_key
from attncc.ir.symbols import NK, NQ, B, I, J
from attncc.ir.tables import Read
from attncc.runtime.executables import backend_for
from attncc.runtime.versions import by_version

#: Documents that are kept of a tensor, and patterns of each.
MOST = 64
#: What documents have for themselves.
OF_DOCUMENTS = frozenset([I, J, B, NQ, NK])


def stays_there(cu_seqlens: Tensor, q: Tensor, v: Tensor, pattern: Pattern, score: Score, backend: str | None) -> bool:
    """Return whether documents are bound where they lie: with the tensors, for a backend that does, without a look.

    q and v are (T, H, D). For the host are patterns that look a table up by both positions, and scores that look tables
    or weights up by what documents have for themselves, since that isn't shown to lie inside of these.
    """
    if not _is_left_there(cu_seqlens) or cu_seqlens.device != q.device or 0 in (len(cu_seqlens) - 1, len(q), len(v)):
        return False
    if looks_gaps_up(pattern) or _looks_up_by_positions(score.key):
        return False
    return backends.binds_tables(backend_for(q[None], v[None], backend or ""))


def packed_unread(
    pattern: Pattern, score: Score, cu_q: Tensor, cu_k: Tensor, q_len: int, kv_len: int
) -> tuple[Pattern, Score]:
    """Return the pattern and the score of documents that aren't read on the host.

    Raises PatternError and TableError as packed_there does.
    """
    packed: Pattern
    if is_recording():
        found = columns(cu_q, cu_k, q_len, kv_len, asserts=True)
        packed = packed_in_graph(pattern, found)
    else:
        packed, found = _packed_pattern(pattern, cu_q, cu_k, q_len, kv_len)
    return packed, score_in_graph(score, found) if _is_of_positions(score.key) else score


def _packed_pattern(
    pattern: Pattern, cu_q: Tensor, cu_k: Tensor, q_len: int, kv_len: int
) -> tuple[Pattern, list[Tensor]]:
    """Return the pattern of documents on a device, and their columns; both are kept for tensors that don't change."""
    documents = q_len, kv_len, id(cu_k), _version(cu_k)
    kept = {} if None in documents or _is_captured(cu_q) else _kept(cu_q)
    if documents not in kept:
        if len(kept) >= MOST:
            kept.clear()
        asserts = os.environ.get(CHECK, "0") != "0"
        found = columns(cu_q, cu_k, q_len, kv_len, asserts=asserts)
        kept[documents] = found, {}, cu_k  # whose number must not become another one's
    found, packed, _ = kept[documents]
    if pattern.handle not in packed:
        if len(packed) >= MOST:
            packed.clear()
        packed[pattern.handle] = packed_there(pattern, found, len(cu_q) - 1)
    return packed[pattern.handle], found


def columns(cu_q: Tensor, cu_k: Tensor, q_len: int, kv_len: int, *, asserts: bool) -> list[Tensor]:
    """Return what is looked up of documents, int32 (q_len,) or (kv_len,), in the order of LOOKED_UP.

    Args:
        cu_q, cu_k: Where documents begin and end, (B + 1,), as in attncc.Documents.
        q_len, kv_len: The numbers of queries and of keys.
        asserts: Whether to have the device assert that they are such ends.
    """
    if asserts:
        for name, ends, tokens in (("cu_seqlens_q", cu_q, q_len), ("cu_seqlens_k", cu_k, kv_len)):
            holds = (ends[0] == 0) & (ends.diff() >= 0).all() & (ends[-1] == tokens)
            torch._assert_async(holds, f"{name} doesn't rise from 0 to the number of tokens.")
    n_q, n_k, start, end = cu_q.diff(), cu_k.diff(), cu_k[:-1], cu_k[1:]
    shift = torch.where(n_k > 0, end - cu_q[1:], start)
    of_document = {
        "start": start,
        "end": end,
        "shift": shift,
        "document": torch.arange(n_q.shape[0], device=cu_q.device),
        "n_q": n_q,
        "n_k": n_k,
    }
    positions = {I: torch.arange(q_len, device=cu_q.device), J: torch.arange(kv_len, device=cu_q.device)}
    documents = {axis: _documents(ends, positions[axis]) for axis, ends in ((I, cu_q), (J, cu_k))}
    from_token = {I: shift - start, J: -start}

    def column(name: str, axis: Any) -> Tensor:
        own = documents[axis]
        if name != "position":
            return of_document[name][own]
        return from_token[axis][own] + (n_k > 0)[own] * positions[axis]

    return [column(*at).to(torch.int32) for at in LOOKED_UP]


def _documents(ends: Tensor, positions: Tensor) -> Tensor:
    """Return the document of each token."""
    found = torch.searchsorted(ends[1:].contiguous(), positions.to(ends.dtype), right=True)
    return found.clamp(max=ends.shape[0] - 2)


@constant
def _is_of_positions(key: str) -> bool:
    """Return whether a score depends on what documents have for themselves."""
    return bool(by_key(key).free & OF_DOCUMENTS)


@constant
def _looks_up_by_positions(key: str) -> bool:
    """Return whether what documents have for themselves is among the indices of a score's look-ups."""
    score = by_key(key)
    reads = score.expr.atoms(Lookup, Read).union(*(atom.expr.atoms(Read) for p in score.predicates for atom in p.atoms))
    return any(read.free_symbols & OF_DOCUMENTS for read in reads)


def _is_left_there(cu_seqlens: Tensor) -> bool:
    return cu_seqlens.device.type == "cuda"


def _is_captured(x: Tensor) -> bool:
    return x.device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _version(x: Tensor) -> int | None:
    return None if x.is_inference() else x._version


@by_version
def _kept(cu_seqlens_q: Tensor) -> dict[Any, Any]:
    """Return the patterns that were made of documents whose queries end there."""
    return {}
