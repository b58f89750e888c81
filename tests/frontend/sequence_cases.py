"""Drawn batches of sequences, with patterns and scores of their own positions, and the masks that numpy has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from attncc.errors import PatternError
from attncc.frontend.patterns import Pattern
from attncc.frontend.sequences import Sequences
from attncc.ir.condition import predicate_of
from attncc.testing.strategies import SYMBOLIC, Interpretation, conditions, numeric


@dataclass(frozen=True)
class SequenceCase:
    """Sequences, a pattern of their own positions, and the mask of the batch: bool (B, heads, q_len, kv_len)."""

    q_offset: list[int]
    lengths: list[int]
    pattern: Pattern
    text: str
    q_len: int
    kv_len: int
    heads: int
    mask: np.ndarray = field(repr=False)

    def __repr__(self) -> str:
        return f"SequenceCase({self.text}; {self.sequences}, {self.q_len} x {self.kv_len}, heads={self.heads})"

    @property
    def sequences(self) -> Sequences:
        return Sequences(self.q_offset, self.lengths)

    @property
    def positions(self) -> range:
        return positions(self.q_offset, self.q_len, self.kv_len)

    def names(self, heads: int) -> Interpretation:
        return sequence_names(self.q_offset, self.lengths, self.q_len, self.kv_len, heads)


def positions(q_offset: list[int], q_len: int, kv_len: int) -> range:
    """Return what covers the positions of queries and keys."""
    return range(min(0, *q_offset), max(kv_len, max(q_offset) + q_len))


def sequence_names(q_offset: list[int], lengths: list[int], q_len: int, kv_len: int, heads: int) -> Interpretation:
    """Return numpy's interpretation of the names of sequences."""
    plain = numeric(q_len, kv_len, 0, heads, len(lengths))
    offset, n_k = (np.array(x).reshape(-1, 1, 1, 1) for x in (q_offset, lengths))
    return replace(plain, i=plain.i + offset, n_k=n_k)


@st.composite
def sequence_cases(draw: st.DrawFn) -> SequenceCase:
    """Draw sequences, with a pattern over the whole grammar."""
    q_len, kv_len, heads = draw(st.sampled_from([1, 1, 2, 5, 17])), draw(st.integers(1, 24)), draw(st.integers(1, 2))
    lengths = draw(st.lists(st.integers(0, kv_len), min_size=1, max_size=4))
    ahead = draw(st.lists(st.integers(-3, 3), min_size=len(lengths), max_size=len(lengths)))
    q_offset = [n - q_len + more for n, more in zip(lengths, ahead, strict=True)]
    drawn = draw(conditions(positions(q_offset, q_len, kv_len)))
    names = sequence_names(q_offset, lengths, q_len, kv_len, heads)
    try:
        pattern = Pattern([predicate_of(drawn.build(SYMBOLIC))], "drawn")
    except PatternError as error:
        if "cases" in error.problem:  # a nest of `where` that attncc refuses
            reject()
        raise
    mask = np.broadcast_to(drawn.build(names), (len(lengths), heads, q_len, kv_len)) & (names.j < names.n_k)
    return SequenceCase(q_offset, lengths, pattern, str(drawn), q_len, kv_len, heads, mask)
