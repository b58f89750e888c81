"""Sequences: a batch whose entries have numbers of keys, and positions of their first query, of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from attncc._util import caching
from attncc._util.tracing import constant
from attncc.errors import ShapeError, refuse_traced
from attncc.frontend import algebra
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.language import TablePlaceholder
from attncc.frontend.patterns import Pattern, TracedPattern
from attncc.frontend.score_templates import InPacking, Repositioned, Shapes, key_in_graphs
from attncc.frontend.scores import Score
from attncc.frontend.templates import PatternTemplate, derived, handle_in_graphs, template_of
from attncc.ir.arrays import as_array
from attncc.ir.normal import comparison
from attncc.ir.packing import Packing
from attncc.ir.placeholders import TableKind
from attncc.ir.predicate import TRUE
from attncc.ir.score import IDENTITY, ScoreExpression, by_key
from attncc.ir.symbols import MAX_POSITION, NK, B, I, J
from attncc.ir.tables import Array, Read, TableData, TableSymbol


class Sequences:
    """B sequences, the entries of a batch: query row r of one stands at q_offset[b] + r, and it has kv_len[b] keys.

    Attributes:
        q_offset: The position of each sequence's first query, (B,), int64; None where it is the same number for all.
        kv_len: The number of keys of each sequence, (B,), int64; None where all have those of the tensors.

    Raises:
        ShapeError: For what isn't an array of integers (B,) in the range of positions, or where the two differ in B.
    """

    def __init__(self, q_offset: Any = None, kv_len: Any = None) -> None:
        refuse_traced(
            ShapeError,
            "Offsets and lengths of sequences are given inside of a function that torch.compile traces.",
            rule="They are tables of the pattern, which is made before.",
            fix="Make attncc.Sequences(...).pattern(...) before, and call attncc.attention with it.",
        )
        self.q_offset = None if q_offset is None else numbers_of_each(q_offset, "q_offset", 1 - MAX_POSITION)
        self.kv_len = None if kv_len is None else numbers_of_each(kv_len, "kv_len", 0)
        if self.q_offset is not None and self.kv_len is not None and len(self.q_offset) != len(self.kv_len):
            raise ShapeError(
                f"q_offset has {len(self.q_offset)} entries, kv_len {len(self.kv_len)}.",
                rule="Both have an entry for each sequence of the batch.",
                fix="Give one for each, or a number for all.",
            )

    def __len__(self) -> int:
        """The number of sequences, 0 where no entry says."""
        return max(0 if x is None else len(x) for x in (self.q_offset, self.kv_len))

    def entry(self, number: int) -> Sequences:
        """Return a sequence as a batch of one."""
        return Sequences(**{name: column[number, None] for name, column in self.columns.items()})

    def pattern(self, pattern: AnyPattern) -> Pattern:
        """Return the pattern of the batch in which each sequence has `pattern`, of its own positions and n_k.

        It is called with q_offset 0 where sequences have offsets of their own. The last ones are kept.

        Args:
            pattern: A pattern, or a declared one that needs no parameters.

        Raises:
            PatternError: `pattern` isn't a pattern.
        """
        return _placed(self, accepted_pattern(pattern))

    def score(self, score: AnyScore) -> Score:
        """Return the score of the batch that is `score` of each sequence's own positions, as `pattern` does.

        Args:
            score: A score, or a declared one.

        Raises:
            ScoreError: `score` isn't a score.
        """
        own = accepted_score(score)
        return Score(InPacking(own.template, self), own.weights, own.name, own.parameters, own.tables)

    def packing(self, free: object = None) -> Packing:
        """Return what the symbols of a sequence are in the batch."""
        looked_up = {name: Read(TableSymbol(TableData(column, name)), B) for name, column in self.columns.items()}
        return _packing(looked_up)

    @property
    def columns(self) -> dict[str, Array]:
        """The arrays that there are, by name."""
        columns = {"q_offset": self.q_offset, "kv_len": self.kv_len}
        return {name: column for name, column in columns.items() if column is not None}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={column.tolist()}" for name, column in self.columns.items())
        return f"Sequences({given})"


@dataclass(frozen=True)
class BatchEntry:
    """One entry of a batch by itself: what its patterns and scores are where b is its number."""

    number: int

    def pattern(self, pattern: Pattern) -> Pattern:
        """Return the pattern of the entry."""
        if B not in pattern.free:
            return pattern
        return Pattern(_of_entry(pattern.template, self), pattern.name, pattern.parameters, pattern.tables)

    def score(self, score: Score) -> Score:
        """Return the score of the entry."""
        return Score(InPacking(score.template, self), score.weights, score.name, score.parameters, score.tables)

    def packing(self, free: object = None) -> Packing:
        """Return what the symbols are for the entry."""
        number = {B: sympy.Integer(self.number)}
        return Packing({I: I, **number}, {J: J, **number}, sympy.S.Zero, sympy.S.Zero, None, TRUE)


def placed_in_graph(pattern: Pattern, columns: Mapping[str, Any]) -> TracedPattern:
    """Return what Sequences.pattern does, where `q_offset` or `kv_len`, (B,), are values of a graph that is recorded.

    Both are read when the graph runs, as tables of a pattern are.
    """
    own = pattern.template_handle
    handle = _placed_handle(own, len(pattern.tables), tuple(columns))
    return TracedPattern(handle, [*pattern.tables, *columns.values()], pattern.name)


def score_in_graph(score: Score, columns: Mapping[str, Any]) -> Score:
    """Return what Sequences.score does, in a graph as `placed_in_graph`; a score that changes nothing stays."""
    if score.key == IDENTITY.key:
        return score
    template = InSequences(score.template, tuple(columns))
    return Score(template, score.weights, score.name, score.parameters, [*score.tables, *columns.values()])


@dataclass(frozen=True)
class InSequences(Repositioned):
    """A score of the positions inside of a batch's sequences, whose offsets and lengths a graph gives.

    Attributes:
        columns: The names of what the graph gives, which are its tables after the score's own.
    """

    columns: tuple[str, ...]

    @property
    def added(self) -> int:
        return len(self.columns)

    def expression(self, shapes: Shapes) -> ScoreExpression:
        return _placed_score(self.own.expression(shapes), self.own.tables, self.columns)

    def traced_key(self, shapes: Shapes) -> str:
        return _placed_key(self.own.traced_key(shapes), self.own.tables, self.columns)


def from_position(pattern: Pattern, n: int) -> Pattern:
    """Return the part of a pattern that begins at position n, whose positions count from 0 there."""
    if not n:
        return pattern
    return Pattern(derived(pattern.template, algebra.moved, n), pattern.name, pattern.parameters, pattern.tables)


@caching.algebra(1024)
def _of_entry(own: PatternTemplate, entry: BatchEntry) -> PatternTemplate:
    return PatternTemplate([entry.packing().predicate(own.predicate)])


def _by_content(sequences: Sequences, pattern: Pattern) -> tuple[object, ...]:
    return pattern.handle, *((name, column.tobytes()) for name, column in sequences.columns.items())


@caching.by_size(lambda pattern: sum(table.data.size for table in pattern.looked_up), _by_content)
def _placed(sequences: Sequences, pattern: Pattern) -> Pattern:
    columns = sequences.columns
    template = _placed_template(pattern.template, len(pattern.tables), tuple(columns))
    tables = [*pattern.tables, *(TableData(column, name) for name, column in columns.items())]
    return Pattern(template, pattern.name, pattern.parameters, tables)


@caching.algebra(256)
def _placed_template(own: PatternTemplate, tables: int, names: tuple[str, ...]) -> PatternTemplate:
    """Return the template whose tables, after the pattern's own, are the columns of these names."""
    return PatternTemplate([_packing(_looked_up(tables, names)).predicate(own.predicate)])


@constant
def _placed_handle(own: str, tables: int, names: tuple[str, ...]) -> str:
    return handle_in_graphs(_placed_template(template_of(own), tables, names))


@caching.algebra(256)
def _placed_score(own: ScoreExpression, tables: int, names: tuple[str, ...]) -> ScoreExpression:
    """Return the score whose tables, after its own, are the columns of these names."""
    return ScoreExpression(_packing(_looked_up(tables, names)).real(own.expr))


@constant
def _placed_key(own: str, tables: int, names: tuple[str, ...]) -> str:
    return key_in_graphs(_placed_score(by_key(own), tables, names))


def _looked_up(tables: int, names: tuple[str, ...]) -> dict[str, sympy.Expr]:
    """Return the look-ups of columns, by their names, whose placeholders are numbered from `tables` on."""
    stand_ins = [TablePlaceholder(name, tables + n, TableKind((False,))) for n, name in enumerate(names)]
    return {each.name: Read(TableSymbol(each), B) for each in stand_ins}


def _packing(looked_up: dict[str, sympy.Expr]) -> Packing:
    """Return what i and n_k of a sequence are, by what offset and length of the batch entry are, where they are given.

    Keys stand where they do in the sequence: it is a packing of one document an entry.
    """
    offset, length = looked_up.get("q_offset", sympy.S.Zero), looked_up.get("kv_len")
    alike = {} if length is None else {NK: length}
    return Packing(
        query={I: I + offset, **alike},
        key={J: J, **alike},
        start=sympy.S.Zero,
        shift=offset,
        gaps=None,
        together=TRUE if length is None else comparison("ge", length - 1 - J),
    )


def numbers_of_each(given: Any, name: str, least: int) -> Array:
    """Return numbers, one a sequence; raises ShapeError for what isn't that."""
    values = as_array(given)
    kind = values.dtype.kind in "iu" and values.ndim == 1 and len(values)
    if not kind or values.min() < least or values.max() >= MAX_POSITION:
        wrong = f" and entries from {values.min()} to {values.max()}" if kind else f" and dtype {values.dtype}"
        raise ShapeError(
            f"{name} has shape {values.shape}{wrong}.",
            rule=f"It is an integer, or integers (B,), one for each batch entry, of at least {least} and below 2^31.",
            fix="Positions count from 0: with a cache of n keys before the queries, q_offset is n.",
        )
    numbers = values.astype(np.int64)
    numbers.flags.writeable = False
    return numbers
