"""Documents: sequences of several lengths laid end to end, with patterns and scores of each one's own positions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import sympy

from attncc._util import caching
from attncc.errors import ShapeError, TableError, refuse_traced
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.score_templates import InDocuments
from attncc.frontend.scores import Score, ScoreFactory, as_score
from attncc.ir.normal import comparison
from attncc.ir.packing import Packing
from attncc.ir.symbols import MAX_POSITION, NK, NQ, B, I, J
from attncc.ir.tables import Array, Read, TableData, TableSymbol, as_array

RULE = "They are integers (B + 1,), from 0 to the number of tokens: document d has those from [d] to [d + 1] - 1."


class Documents:
    """B documents, packed: their queries lie end to end, and so do their keys.

    The last query of a document stands at the position of its last key, as in FlashAttention: query r of n_q stands at
    r + n_k - n_q. Without `cu_seqlens_k` queries and keys are the same tokens. A document may be without queries or
    keys.

    Attributes:
        cu_seqlens_q: Where the queries of each document begin and, at the end, their number; (B + 1,), int64.
        cu_seqlens_k: The same of keys.

    Raises:
        ShapeError: For what isn't an array of integers (B + 1,) that begins with 0 and never falls, or where the
            two differ in B.
    """

    def __init__(self, cu_seqlens_q: Any, cu_seqlens_k: Any = None) -> None:
        check_untraced()
        self.cu_seqlens_q = _ends(cu_seqlens_q, "cu_seqlens_q")
        self.cu_seqlens_k = self.cu_seqlens_q if cu_seqlens_k is None else _ends(cu_seqlens_k, "cu_seqlens_k")
        q, k = len(self.cu_seqlens_q), len(self.cu_seqlens_k)
        if q != k:
            raise ShapeError(
                f"cu_seqlens_q has {q} entries, cu_seqlens_k {k}.",
                rule="Both have an entry for each document, and one more.",
                fix="Repeat an entry for a document that has no queries, or no keys.",
            )

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.cu_seqlens_q) - 1

    @property
    def q_len(self) -> int:
        """The number of queries of all documents."""
        return int(self.cu_seqlens_q[-1])

    @property
    def kv_len(self) -> int:
        """The number of keys of all documents."""
        return int(self.cu_seqlens_k[-1])

    def pattern(self, pattern: Pattern | PatternFactory) -> Pattern:
        """Return the pattern of the packed sequence in which each document has `pattern`, and sees no other one.

        The pattern's i, j, n_q and n_k are a document's own, and its b is the document's number. The last ones are
        kept.

        Args:
            pattern: A pattern, or a declared one that needs no parameters.

        Raises:
            PatternError: `pattern` isn't a pattern.
            TableError: It has a table with an entry for each of some other number of documents.
        """
        return _packed(self, as_pattern(pattern))

    def score(self, score: Score | ScoreFactory) -> Score:
        """Return the score of the packed sequence that is `score` of each document's own positions, as `pattern` does.

        Args:
            score: A score, or a declared one.

        Raises:
            ScoreError: `score` isn't a score.
        """
        own = as_score(score)
        return Score(InDocuments(own.template, self), own.weights, own.name, own.parameters)

    def packing(self, free: Collection[sympy.Symbol]) -> Packing:
        """Return what the symbols of a document are in the packed sequence: i, j, and those of `free`."""
        n_q, n_k = np.diff(self.cu_seqlens_q), np.diff(self.cu_seqlens_k)
        start, end = self.cu_seqlens_k[:-1], self.cu_seqlens_k[1:]
        shift = np.where(n_k > 0, end - self.cu_seqlens_q[1:], start)
        alike = {B: ("document", np.arange(len(self))), NQ: ("n_q", n_q), NK: ("n_k", n_k)}
        used = {symbol: column for symbol, column in alike.items() if symbol in free}
        first, last = _looked_up("start", start, I, n_q), _looked_up("end", end, I, n_q) - 1
        query = {symbol: _looked_up(*column, I, n_q) for symbol, column in used.items()}
        key = {symbol: _looked_up(*column, J, n_k) for symbol, column in used.items()}
        return Packing(
            query={I: _looked_up("position", shift - start, I, n_q, step=n_k > 0), **query},
            key={J: _looked_up("position", -start, J, n_k, step=n_k > 0), **key},
            start=first,
            shift=_looked_up("shift", shift, I, n_q),
            gaps=(1 - int(n_q.max(initial=1)), int(n_k.max(initial=1)) - 1),
            together=comparison("ge", J - first) & comparison("ge", last - J),
        )

    def __repr__(self) -> str:
        return f"Documents({len(self)} of {self.q_len:,} queries and {self.kv_len:,} keys)"


def check_untraced() -> None:
    """Raise ShapeError where documents would be made inside of what torch.compile traces."""
    refuse_traced(
        ShapeError,
        "Documents are made inside of a function that torch.compile traces.",
        rule="Where they begin is a constant of the graph, which a traced tensor doesn't have yet.",
        fix="Make attncc.Documents(...).pattern(...) before, and call attncc.attention with it. Where they change from "
        "call to call, call varlen_attention in a function under @torch.compiler.disable, without fullgraph=True.",
    )


@caching.by_size(lambda pattern: sum(table.data.size for table in pattern.predicate.tables))
def _packed(documents: Documents, pattern: Pattern) -> Pattern:
    _check_tables(pattern, len(documents))
    own = pattern.predicate
    return Pattern([documents.packing(own.free).predicate(own)], f"packed({pattern.name})", pattern.parameters)


def _check_tables(pattern: Pattern, number: int) -> None:
    """Raise TableError for a table that has an entry for each document, but of another number of documents."""
    for read in {read for atom in pattern.predicate.atoms for read in atom.expr.atoms(Read)}:
        for index, size in zip(read.indices, read.shape, strict=True):
            if index == B and size != number:
                raise TableError(
                    f"Table {read.table.name!r} has {size} batch entries, and there are {number} documents.",
                    rule="The batch entries of a packed sequence are its documents.",
                    fix="Give one entry for each document, or give the dimension size 1 to share it.",
                )


def _looked_up(name: str, values: Array, symbol: sympy.Symbol, lengths: Array, step: Array | None = None) -> sympy.Expr:
    """Return what each document has a value for, which rises by its `step` with each position, as an expression.

    It is a number where it is the same at all positions, which gives plans in closed form.
    """
    at = np.repeat(values, lengths)
    if step is not None:
        at = at + np.repeat(step, lengths) * np.arange(len(at))
    if not len(at):
        return sympy.S.Zero
    return sympy.Integer(int(at[0])) if (at == at[0]).all() else Read(TableSymbol(TableData(at, name)), symbol)


def _ends(given: Any, name: str) -> Array:
    """Return where documents begin and end; raises ShapeError for what isn't that."""
    values = as_array(given)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        _refuse(f"{name} has shape {values.shape} and dtype {values.dtype}.")
    falls = np.flatnonzero(values[1:] < values[:-1])
    if values[0] != 0:
        _refuse(f"{name} begins with {values[0]}.")
    if len(falls):
        _refuse(f"{name} falls from {values[falls[0]]} to {values[falls[0] + 1]}.")
    if values[-1] >= MAX_POSITION:
        _refuse(f"{name} ends with {values[-1]}, and positions are below 2^31.")
    ends = values.astype(np.int64)
    ends.flags.writeable = False
    return ends


def _refuse(problem: str) -> None:
    fix = "Of lengths they are torch.nn.functional.pad(lengths.cumsum(0), (1, 0))."
    raise ShapeError(problem, rule=RULE, fix=fix)
