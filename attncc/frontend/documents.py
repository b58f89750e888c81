"""Documents: sequences of several lengths laid end to end, with patterns and scores of each one's own positions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from attncc._util import caching
from attncc._util.tracing import constant
from attncc.errors import PatternError, ShapeError, TableError, refuse_traced
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.language import TablePlaceholder
from attncc.frontend.patterns import Pattern, TracedPattern
from attncc.frontend.score_templates import InPacking, Repositioned, Shapes, key_in_graphs
from attncc.frontend.scores import Score
from attncc.frontend.templates import PatternTemplate, handle_in_graphs, put, template_of
from attncc.ir.arrays import as_array
from attncc.ir.normal import comparison
from attncc.ir.packing import Packing
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import Predicate
from attncc.ir.score import ScoreExpression, by_key
from attncc.ir.symbols import MAX_POSITION, NK, NQ, B, I, J
from attncc.ir.tables import Array, Read, TableData, TableSymbol

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

    def pattern(self, pattern: AnyPattern) -> Pattern:
        """Return the pattern of the packed sequence in which each document has `pattern`, and sees no other one.

        The pattern's i, j, n_q and n_k are a document's own, and its b is the document's number. The last ones are
        kept.

        Args:
            pattern: A pattern, or a declared one that needs no parameters.

        Raises:
            PatternError: `pattern` isn't a pattern.
            TableError: It has a table with an entry for each of some other number of documents.
        """
        return _packed(self, accepted_pattern(pattern))

    def score(self, score: AnyScore) -> Score:
        """Return the score of the packed sequence that is `score` of each document's own positions, as `pattern` does.

        Args:
            score: A score, or a declared one.

        Raises:
            ScoreError: `score` isn't a score.
        """
        own = accepted_score(score)
        return Score(InPacking(own.template, self), own.weights, own.name, own.parameters, own.tables)

    def packing(self, free: Collection[sympy.Symbol]) -> Packing:
        """Return what the symbols of a document are in the packed sequence: i, j, and those of `free`."""
        columns = self.columns(free)
        return _packing({at: _looked_up(column, at) for at, column in columns.items()}, self.gaps)

    def columns(self, free: Collection[sympy.Symbol]) -> Columns:
        """Return what a document's symbols are at each query (in i) and key (in j): numbers where they are the same."""
        n_q, n_k = np.diff(self.cu_seqlens_q), np.diff(self.cu_seqlens_k)
        start, end = self.cu_seqlens_k[:-1], self.cu_seqlens_k[1:]
        shift = np.where(n_k > 0, end - self.cu_seqlens_q[1:], start)
        alike = {B: np.arange(len(self)), NQ: n_q, NK: n_k}
        used = {symbol: values for symbol, values in alike.items() if symbol in free}
        of_query = {"start": start, "end": end, "shift": shift, **{_NAMES[s]: values for s, values in used.items()}}
        found = {(name, I): _column(values, n_q) for name, values in of_query.items()}
        found |= {(_NAMES[s], J): _column(values, n_k) for s, values in used.items()}
        found["position", I] = _column(shift - start, n_q, step=n_k > 0)
        found["position", J] = _column(-start, n_k, step=n_k > 0)
        return found

    @property
    def gaps(self) -> tuple[int, int]:
        """The least and the greatest difference between the position of a query and that of a key."""
        n_q, n_k = np.diff(self.cu_seqlens_q), np.diff(self.cu_seqlens_k)
        return 1 - int(n_q.max(initial=1)), int(n_k.max(initial=1)) - 1

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


#: The columns' names of a document's symbols.
_NAMES = {B: "document", NQ: "n_q", NK: "n_k"}
#: What is looked up: a name, and by i or by j.
Place = tuple[str, sympy.Symbol]
Columns = dict[Place, Array | int]


#: All that may be looked up of documents whose ends aren't read on the host.
LOOKED_UP: tuple[Place, ...] = (
    *((name, I) for name in ("start", "end", "shift", "position", *_NAMES.values())),
    *((name, J) for name in ("position", *_NAMES.values())),
)


def packed_there(pattern: Pattern, columns: Sequence[Any], number: int) -> Pattern:
    """Return what Documents.pattern does for documents that aren't read on the host.

    Args:
        pattern: The pattern of each document.
        columns: What is looked up of them, tensors in the order of LOOKED_UP.
        number: The number of documents.

    Raises:
        TableError: The pattern has a table with an entry for each of some other number of documents.
        PatternError: It looks a table up by both positions, which has entries for the lengths of documents.
    """
    _check_tables(pattern, number)
    template, used = _template_there(pattern.template, len(pattern.tables))
    tables = [*pattern.tables, *(TableData.unread(columns[LOOKED_UP.index(at)], at[0]) for at in used)]
    return Pattern(template, f"packed({pattern!r})", None, tables)


def packed_in_graph(pattern: Pattern, columns: Sequence[Any]) -> TracedPattern:
    """Return the same where the columns are values of a graph that is recorded; raises PatternError."""
    own, tables = pattern.template_handle, len(pattern.tables)
    used = [columns[n] for n in _used_in_graph(own, tables)]
    return TracedPattern(_handle_in_graph(own, tables), [*pattern.tables, *used], pattern.name)


def score_in_graph(score: Score, columns: Sequence[Any]) -> Score:
    """Return what Documents.score does, in a graph as `packed_in_graph`."""
    used = _used_by_score(score.key, score.template.tables)
    tables = [*score.tables, *[columns[n] for n in used]]
    return Score(InDocuments(score.template, len(used)), score.weights, score.name, score.parameters, tables)


@dataclass(frozen=True)
class InDocuments(Repositioned):
    """A score of the positions inside of packed documents, whose ends a graph gives.

    Attributes:
        used: How many columns of LOOKED_UP it looks up, which are its tables after the score's own.
    """

    used: int

    @property
    def added(self) -> int:
        return self.used

    def expression(self, shapes: Shapes) -> ScoreExpression:
        return _packed_score(self.own.expression(shapes), self.own.tables)[0]

    def traced_key(self, shapes: Shapes) -> str:
        return _packed_key(self.own.traced_key(shapes), self.own.tables)


def looks_gaps_up(pattern: Pattern) -> bool:
    """Return whether a pattern looks a table up by both positions."""
    return _looks_gaps_up(pattern.template.predicate)


@constant
def _handle_in_graph(own: str, tables: int) -> str:
    return handle_in_graphs(_template_there(template_of(own), tables)[0])


@constant
def _used_in_graph(own: str, tables: int) -> tuple[int, ...]:
    """Return which of the columns a template looks up, in the order of its tables."""
    return tuple(map(LOOKED_UP.index, _template_there(template_of(own), tables)[1]))


@constant
def _used_by_score(own: str, tables: int) -> tuple[int, ...]:
    """Return which of the columns a score looks up, in the order of its tables."""
    return tuple(map(LOOKED_UP.index, _packed_score(by_key(own), tables)[1]))


@constant
def _packed_key(own: str, tables: int) -> str:
    return key_in_graphs(_packed_score(by_key(own), tables)[0])


def _template_there(own: PatternTemplate, tables: int) -> tuple[PatternTemplate, tuple[Place, ...]]:
    if _looks_gaps_up(own.predicate):
        raise PatternError(
            "A pattern of packed documents looks a table up by both positions, and their lengths aren't known.",
            rule="Such a table has entries for the differences that there are, which documents' lengths bound.",
            fix="Make attncc.Documents(...).pattern(...) of cu_seqlens on the host, outside of graphs.",
        )
    return _packed_template(own, tables, tuple((at, None) for at in LOOKED_UP), None)


@caching.by_size(lambda pattern: sum(math.prod(table.shape) for table in pattern.looked_up))
def _packed(documents: Documents, pattern: Pattern) -> Pattern:
    """Return a pattern of packed documents: its template is that of all documents with the same numbers in it."""
    _check_tables(pattern, len(documents))
    columns = documents.columns(pattern.free)
    numbers = tuple((at, column if isinstance(column, int) else None) for at, column in columns.items())
    gaps = documents.gaps if _looks_gaps_up(pattern.template.predicate) else None
    template, used = _packed_template(pattern.template, len(pattern.tables), numbers, gaps)
    tables = [*pattern.tables, *(TableData(columns[at], at[0]) for at in used)]
    return Pattern(template, f"packed({pattern!r})", None, tables)


@caching.algebra(256)
def _packed_template(
    own: PatternTemplate, tables: int, numbers: tuple[tuple[Place, int | None], ...], gaps: tuple[int, int] | None
) -> tuple[PatternTemplate, tuple[Place, ...]]:
    """Return the template of a packed pattern, and the columns that are its tables, after the pattern's own."""
    stand_ins = _stand_ins((at for at, _ in numbers), tables)
    values = {at: _read(stand_ins[at], at) if number is None else sympy.Integer(number) for at, number in numbers}
    predicate = _packing(values, gaps or (0, 0)).predicate(own.predicate)
    places = _renumbered(stand_ins, predicate.tables, tables)
    symbols = {TableSymbol(stand_ins[at]): table for at, table in places.items()}
    return PatternTemplate([put(predicate, symbols)]), tuple(places)


@caching.algebra(256)
def _packed_score(own: ScoreExpression, tables: int) -> tuple[ScoreExpression, tuple[Place, ...]]:
    """Return a score of documents, and the columns that are its tables, after the score's own.

    A look-up by both positions lies in its table for all pairs, since the lengths of documents aren't known.
    """
    stand_ins = _stand_ins(LOOKED_UP, tables)
    packing = _packing({at: _read(table, at) for at, table in stand_ins.items()}, None)
    packed = ScoreExpression(packing.real(own.expr))
    places = _renumbered(stand_ins, packed.placeholders, tables)
    return packed.with_tables({stand_ins[at]: table for at, table in places.items()}), tuple(places)


def _stand_ins(places: Iterable[Place], tables: int) -> dict[Place, TablePlaceholder]:
    """Return placeholders for columns, numbered from `tables` on."""
    return {at: TablePlaceholder(at[0], tables + n, TableKind((False,))) for n, at in enumerate(places)}


def _renumbered(
    stand_ins: Mapping[Place, TablePlaceholder], looked_up: Iterable[TableData], tables: int
) -> dict[Place, Placeholder]:
    """Return those that are looked up, numbered without gaps."""
    known = {table.digest for table in looked_up}
    used = [at for at, table in stand_ins.items() if table.digest in known]
    return {at: stand_ins[at].numbered(tables + n) for n, at in enumerate(used)}


def _looks_gaps_up(predicate: Predicate) -> bool:
    """Return whether a table is looked up by both positions, which has entries for the gaps that there are only."""
    return any({I, J} <= read.free_symbols for atom in predicate.atoms for read in atom.expr.atoms(Read))


def _packing(values: Mapping[Place, sympy.Expr], gaps: tuple[int, int] | None) -> Packing:
    names = {symbol: name for symbol, name in _NAMES.items() if (name, I) in values}
    start, last = values["start", I], values["end", I] - 1
    return Packing(
        query={I: values["position", I], **{symbol: values[name, I] for symbol, name in names.items()}},
        key={J: values["position", J], **{symbol: values[name, J] for symbol, name in names.items()}},
        start=start,
        shift=values["shift", I],
        gaps=gaps,
        together=comparison("ge", J - start) & comparison("ge", last - J),
    )


def _check_tables(pattern: Pattern, number: int) -> None:
    """Raise TableError for a table that has an entry for each document, but of another number of documents."""
    for read in {read for atom in pattern.template.predicate.atoms for read in atom.expr.atoms(Read)}:
        table = pattern.bound.get(read.args[0], read.table)
        for index, size in zip(read.indices, table.shape, strict=False):
            if index == B and size != number:
                raise TableError(
                    f"Table {table.name!r} has {size} batch entries, and there are {number} documents.",
                    rule="The batch entries of a packed sequence are its documents.",
                    fix="Give one entry for each document, or give the dimension size 1 to share it.",
                )


def _column(values: Array, lengths: Array, step: Array | None = None) -> Array | int:
    """Return what each document has a value for, which rises by its `step` with each position, at all positions.

    It is a number where it is the same at all of them, which gives plans in closed form.
    """
    at = np.repeat(values, lengths)
    if step is not None:
        at = at + np.repeat(step, lengths) * np.arange(len(at))
    if not len(at):
        return 0
    return int(at[0]) if (at == at[0]).all() else at


def _looked_up(column: Array | int, at: Place) -> sympy.Expr:
    return sympy.Integer(column) if isinstance(column, int) else _read(TableData(column, at[0]), at)


def _read(table: TableData, at: Place) -> Read:
    return Read(TableSymbol(table), at[1])


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
