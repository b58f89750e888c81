"""Drawn documents, with patterns and scores of their own positions, and the masks and formulas that numpy has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from attncc.errors import PatternError
from attncc.frontend.documents import Documents
from attncc.frontend.patterns import Pattern
from attncc.ir.condition import predicate_of
from attncc.testing.strategies import SYMBOLIC, Interpretation, conditions, numeric


def documents_of(n_q: list[int], n_k: list[int]) -> Documents:
    return Documents(np.cumsum([0, *n_q]), np.cumsum([0, *n_k]))


@dataclass(frozen=True)
class PackedCase:
    """Documents, a pattern of their own positions, and the mask of the packed sequence: bool (1, heads, Tq, Tk)."""

    documents: Documents
    pattern: Pattern
    text: str
    heads: int
    mask: np.ndarray = field(repr=False)

    def __repr__(self) -> str:
        n_q, n_k = (np.diff(x).tolist() for x in (self.documents.cu_seqlens_q, self.documents.cu_seqlens_k))
        return f"PackedCase({self.text}; n_q={n_q}, n_k={n_k}, heads={self.heads})"

    @property
    def positions(self) -> range:
        return positions(self.documents)

    def names(self, heads: int) -> Interpretation:
        return packed_names(self.documents, heads)


def positions(documents: Documents) -> range:
    """Return what covers the positions of queries and keys."""
    n_q, n_k = np.diff(documents.cu_seqlens_q), np.diff(documents.cu_seqlens_k)
    return range(int((n_k - n_q).min(initial=0)), int(max(n_q.max(initial=1), n_k.max(initial=1))))


def packed_names(documents: Documents, heads: int) -> Interpretation:
    """Return numpy's interpretation of the names of a document, right between a query and a key of one document."""
    n_q, n_k = np.diff(documents.cu_seqlens_q), np.diff(documents.cu_seqlens_k)
    of_query, of_key = (np.repeat(np.arange(len(n)), n) for n in (n_q, n_k))
    i = np.arange(len(of_query)) - documents.cu_seqlens_q[of_query] + (n_k - n_q)[of_query]
    j = np.arange(len(of_key)) - documents.cu_seqlens_k[of_key]
    i, b, q_len, kv_len = (x.reshape(1, 1, -1, 1) for x in (i, of_query, n_q[of_query], n_k[of_query]))
    h = np.arange(heads).reshape(1, -1, 1, 1)
    j = j.reshape(1, 1, 1, -1)
    return replace(numeric(1, 1, 0, 1, 1), i=i, j=j, h=h, b=b, n_q=q_len, n_k=kv_len)


def together(documents: Documents) -> np.ndarray:
    """Return which queries and keys are of one document, bool (Tq, Tk)."""
    of_query, of_key = (
        np.repeat(np.arange(len(documents)), np.diff(x)) for x in (documents.cu_seqlens_q, documents.cu_seqlens_k)
    )
    return of_query[:, None] == of_key


@st.composite
def drawn_documents(draw: st.DrawFn) -> Documents:
    lengths = st.integers(0, 20)
    n_q = draw(st.lists(lengths, min_size=1, max_size=5))
    n_k = draw(st.one_of(st.just(n_q), st.lists(lengths, min_size=len(n_q), max_size=len(n_q))))
    return documents_of(n_q, n_k)


@st.composite
def packed_cases(draw: st.DrawFn) -> PackedCase:
    """Draw documents, with a pattern over the whole grammar."""
    documents, heads = draw(drawn_documents()), draw(st.integers(1, 3))
    drawn = draw(conditions(positions(documents)))
    names = packed_names(documents, heads)
    try:
        pattern = Pattern([predicate_of(drawn.build(SYMBOLIC))], "drawn")
    except PatternError as error:
        if "cases" in error.problem:  # a nest of `where` that attncc refuses
            reject()
        raise
    own = np.broadcast_to(drawn.build(names), (1, heads, documents.q_len, documents.kv_len))
    return PackedCase(documents, pattern, str(drawn), heads, own & together(documents))
