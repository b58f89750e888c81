"""varlen_attention(): attention inside documents of several lengths that are laid end to end, without padding."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NoReturn

import numpy as np
from torch import Tensor

from attncc._util.tracing import is_recording, plain, shown
from attncc.configs.encoding import Config
from attncc.errors import ShapeError
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.documents import RULE, Documents
from attncc.ir.tables import Array
from attncc.runtime.arguments import kind_of
from attncc.runtime.call import AttentionCall, Result
from attncc.runtime.dispatch import run_call
from attncc.runtime.packed_columns import packed_unread, stays_there
from attncc.runtime.score_module import warn_of_captured
from attncc.runtime.sequences import placed_score
from attncc.runtime.versions import Content, array_of, content


def varlen_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor | None,
    pattern: AnyPattern,
    *,
    max_seqlen_q: int | None = None,
    max_seqlen_k: int | None = None,
    score: AnyScore = None,
    weights: Mapping[str, Tensor] | None = None,
    sink: Tensor | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    return_max_scores: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> Result:
    """Return softmax attention inside each of B packed documents, over the keys that `pattern` connects a query to.

    The arguments are those of FlashAttention's flash_attn_varlen_func (Dao 2023), and documents are aligned as there:
    the last query of each stands at the position of its last key. The pattern and the score see a document's own i, j,
    n_q and n_k; their b is the document's number. Tiles between documents are skipped, and nothing is padded.

    The documents of the last calls are kept, with what was made of them; tensors `cu_seqlens` are read once, until
    they are changed in place. On a GPU the triton backend doesn't read them, but binds them there, unless the score
    depends on positions, or a table is looked up by both; what `cu_seqlens` hold is then checked under ATTNCC_CHECK=1.
    In a graph they are inputs. A score there that looks a table or weights up by both positions has entries for all
    differences of positions in the packed sequence.

    Args:
        q: (Tq, Hq, D), the queries of all documents, of one floating dtype and device with k and v.
        k: (Tk, Hkv, D), the keys of all documents.
        v: (Tk, Hkv, Dv).
        cu_seqlens_q: (B + 1,), integers on any device: document d has queries cu_seqlens_q[d] to
            cu_seqlens_q[d + 1] - 1.
        cu_seqlens_k: The same of keys; None where they are those of queries, as in training.
        pattern: A pattern, a declared one that needs no parameters, or a mask_mod for FlexAttention.
        max_seqlen_q: A length that no document's queries exceed, which is checked; it isn't needed.
        max_seqlen_k: The same of keys.
        score: As in `attention`, of a document's own positions.
        weights: As in `attention`.
        sink: As in `attention`: (Hq,), (), or (1, Hq, Tq) for a sink of each query.
        scale: As in `attention`.
        enable_gqa: As in `attention`.
        return_lse: Return lse beside out.
        return_max_scores: As in `attention`; (Hq, Tq).
        backend: As in `attention`.
        config: As in `attention`.

    Returns:
        out, (Tq, Hq, Dv) in q's dtype, a view of a tensor with heads first; with `return_lse` (out, lse), lse being
        (Hq, Tq), float32 (float64 for float64).

    Raises:
        ShapeError: `cu_seqlens` aren't ends of documents, or don't fit the tensors.
        TableError: `cu_seqlens` can't be read, or a table has an entry for each of some other number of documents.
        AttnccError: What `attention` raises.
    """
    _check_ends(cu_seqlens_q, cu_seqlens_k)
    _check_tensors(q, k, v)
    own_pattern, own_score = accepted_pattern(pattern), accepted_score(score, weights)
    warn_of_captured(score, weights)
    if is_recording() or stays_there(cu_seqlens_q, q, v, own_pattern, own_score, backend):
        ends_of_keys = cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
        own_pattern, own_score = packed_unread(
            own_pattern, own_score, cu_seqlens_q, ends_of_keys, q.shape[0], k.shape[0]
        )
    else:
        documents = _documents_of(cu_seqlens_q, cu_seqlens_k)
        _check_tokens(documents, q, k, v)
        _check_longest("max_seqlen_q", max_seqlen_q, documents.cu_seqlens_q)
        _check_longest("max_seqlen_k", max_seqlen_k, documents.cu_seqlens_k)
        own_pattern, own_score = documents.pattern(own_pattern), placed_score(own_score, documents)
    options = scale, enable_gqa, return_lse, return_max_scores
    call = AttentionCall.of(own_pattern, own_score, 0, backend, config, *options)
    query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
    result = run_call(query, key, value, call, own_pattern, own_score, sink)
    out, *of_rows = result if isinstance(result, tuple) else (result,)
    out = out.squeeze(0).transpose(0, 1)
    return (out, *(x.squeeze(0) for x in of_rows)) if of_rows else out


def _check_ends(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor | None) -> None:
    """Raise ShapeError for ends of documents that aren't tensors."""
    for name, x in (("cu_seqlens_q", cu_seqlens_q), ("cu_seqlens_k", cu_seqlens_k)):
        if not isinstance(x, Tensor) and (x is not None or name == "cu_seqlens_q"):
            raise ShapeError(f"{name} is a {type(x).__name__}.", rule=RULE, fix="Write torch.tensor(...).")


def _documents_of(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor | None) -> Documents:
    """Return the documents of `cu_seqlens`, the same ones for the same values."""
    queries = content(cu_seqlens_q)
    return _documents(queries, queries if cu_seqlens_k is None else content(cu_seqlens_k))


@lru_cache(maxsize=64)
def _documents(cu_seqlens_q: Content, cu_seqlens_k: Content) -> Documents:
    return Documents(array_of(cu_seqlens_q), array_of(cu_seqlens_k))


def _check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise ShapeError unless the tensors are those of tokens."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, Tensor) or x.is_nested:
            _refuse(f"{name} is a {kind_of(x)}.")
        if x.ndim != 3:
            _refuse(f"{name} has shape {tuple(map(plain, x.shape))}.")


def _check_tokens(documents: Documents, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise ShapeError unless the tensors hold the documents' tokens."""
    for name, x, tokens in (("q", q, documents.q_len), ("k", k, documents.kv_len), ("v", v, documents.kv_len)):
        if x.shape[0] != tokens:
            what = "queries" if name == "q" else "keys"
            _refuse(f"{name} has shape {tuple(x.shape)}, and the documents have {tokens:,} {what}.")


def _refuse(problem: str) -> NoReturn:
    raise ShapeError(
        problem,
        rule="q is (Tq, Hq, D), k (Tk, Hkv, D) and v (Tk, Hkv, Dv), for the last entries Tq and Tk of cu_seqlens_q and "
        "cu_seqlens_k.",
        fix="Tokens come before heads: of one document (1, H, N, D) they are x[0].transpose(0, 1).",
    )


def _check_longest(name: str, most: object, cu_seqlens: Array) -> None:
    """Raise ShapeError for a largest length, if it is given, that some document exceeds."""
    longest = 0 if most is None else int(np.diff(cu_seqlens).max(initial=0))
    if most is not None and (not isinstance(most, int) or most < longest):
        raise ShapeError(
            f"{name}={shown(most)}, and the longest document has {longest:,}.",
            rule="No document is longer than that.",
            fix="Leave it out: documents are as long as cu_seqlens says.",
        )
