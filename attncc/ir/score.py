"""The symbolic part of a score: the expression that replaces the scaled score, and its derivatives by sympy."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Self

import sympy
from sympy.printing.str import StrPrinter

from attncc.errors import ExportError, ScoreError
from attncc.ir.codec import Program
from attncc.ir.comparisons import Compared
from attncc.ir.diagonals import depends_on_gap, free_along_diagonals
from attncc.ir.functions import AsReal, Choice, ConditionSymbol, Lookup
from attncc.ir.normal import comparison
from attncc.ir.notation import formula
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import SCORE
from attncc.ir.tables import Read, TableData, TableSymbol

_registry: weakref.WeakValueDictionary[str, ScoreExpression] = weakref.WeakValueDictionary()


class ScoreExpression:
    """A real expression of the score, positions, head, batch entry, lengths and weights; see attncc.ir.functions
    for its nodes. Where it is -inf the pair is masked.

    Equal expressions have equal keys, in every process; weights count by slot and shape, not by their values. A table
    that is unread counts by itself, here alone: see `on_host`.
    Raises ScoreError for an infinity or NaN among its numbers; -inf may only be all of it or a branch of a choice.
    """

    expr: sympy.Expr
    #: SHA-256 of the expression as sympy has put it in order, numbers in full precision.
    key: str

    def __new__(cls, expr: sympy.Expr) -> Self:
        """Return the living expression that is equal, if there is one: its key then names one that lives as long."""
        _check_numbers(expr)
        key = hashlib.sha256(_Canonical().doprint(expr).encode()).hexdigest()
        made = super().__new__(cls)
        made.expr, made.key = expr, key
        return _registry.setdefault(key, made)  # type: ignore[return-value]

    @cached_property
    def derivative(self) -> sympy.Expr:
        """The derivative by the score, of the same nodes and `Sign`."""
        return self.expr.diff(SCORE)

    @cached_property
    def lookups(self) -> tuple[Lookup, ...]:
        """The different look-ups of weights, in a fixed order."""
        return tuple(sorted(self.expr.atoms(Lookup), key=sympy.default_sort_key))

    @cached_property
    def gradients(self) -> tuple[tuple[Lookup, sympy.Expr], ...]:
        """(look-up, derivative by it) of every look-up of weights; an entry's gradient sums over all of them."""
        return tuple((lookup, self._by(lookup)) for lookup in self.lookups)

    @property
    def is_identity(self) -> bool:
        """Whether scores stay as they are."""
        return self.expr is SCORE or bool(self.expr == SCORE)

    @property
    def is_additive(self) -> bool:
        """Whether a bias that doesn't depend on the score is added to it."""
        return bool(self.derivative == 1) and not any(SCORE in each.free_symbols for each in self.expr.atoms(Compared))

    @cached_property
    def bias(self) -> sympy.Expr:
        """What is added to the score, if it is additive."""
        return self.expr.xreplace({SCORE: sympy.S.Zero})

    @cached_property
    def free(self) -> frozenset[sympy.Symbol]:
        """The symbols that the expression depends on, conditions included."""
        return frozenset(self.expr.free_symbols)

    @cached_property
    def tables(self) -> frozenset[TableData]:
        """The integer tables that indices and conditions read."""
        reads = {read for index in self.indices() for read in index.atoms(Read)}
        return frozenset(read.table for read in reads).union(*(predicate.tables for predicate in self.predicates))

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """What stands for tables that a graph gives."""
        return tuple(table for table in self.tables if isinstance(table, Placeholder))

    @property
    def is_on_host(self) -> bool:
        """Whether no table lies on a device, unread."""
        return all(table.tensor is None for table in self.tables)

    @cached_property
    def on_host(self) -> ScoreExpression:
        """The score with its tables read on the host, whose key tells of their contents in every process."""
        return self.with_tables({table: table.on_host for table in self.tables if table.tensor is not None})

    @cached_property
    def outline(self) -> str:
        """The key of the score when the contents of its tables are forgotten: they count by name, rank and kind."""
        known = (table for table in self.tables if not table.is_placeholder)
        return self.with_tables({table: Placeholder(table.name, 0, TableKind.of(table)) for table in known}).key

    def with_tables(self, tables: Mapping[Any, TableData]) -> ScoreExpression:
        """Return the score with other tables in the places of some of its own."""
        if not tables:
            return self
        symbols = {TableSymbol(own): TableSymbol(other) for own, other in tables.items()}
        conditions = {
            node: ConditionSymbol(
                node.predicate.map(
                    lambda atom: comparison(atom.relation, atom.expr.xreplace(symbols)) if atom.tables else atom
                )
            )
            for node in self.expr.atoms(ConditionSymbol)
        }
        return ScoreExpression(self.expr.xreplace(conditions | symbols))

    @cached_property
    def predicates(self) -> tuple[Predicate, ...]:
        """The conditions on positions."""
        return tuple(node.predicate for node in self.expr.atoms(ConditionSymbol))

    @cached_property
    def depends_on_gap(self) -> bool:
        """Whether, beside the score, it is shown to depend on i - j alone, so that it is the same along diagonals."""
        return all(map(free_along_diagonals, self.indices())) and all(map(depends_on_gap, self.predicates))

    def indices(self) -> Iterator[sympy.Expr]:
        """Yield the index expressions: what is converted to a real number, and what weights are looked up by."""
        for node in self.expr.atoms(AsReal):
            yield node.args[0]
        for lookup in self.lookups:
            yield from lookup.indices

    def _by(self, lookup: Lookup) -> sympy.Expr:
        entry = sympy.Dummy(real=True)
        return self.expr.xreplace({lookup: entry}).diff(entry).xreplace({entry: lookup})

    @property
    def program(self) -> Program:
        """What is written down where a score leaves the process."""
        return Program("score", "score", (self.expr,))

    @classmethod
    def of(cls, program: Program) -> Self:
        """Return the score of a program that was read; raises ExportError for one that is none."""
        if len(program.roots) != 1 or not isinstance(program.roots[0], sympy.Expr):
            raise ExportError(
                "The score that was read is not one expression.",
                rule="A score is one real expression.",
                fix="Export the model again.",
            )
        return cls(program.roots[0])

    def __reduce__(self) -> tuple[object, ...]:
        """A copy in another process is that process's living one, if there is one."""
        return ScoreExpression, (self.expr,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreExpression) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return formula(self.expr)


def by_key(key: str) -> ScoreExpression:
    """Return the living expression with this key; raises ScoreError if it is gone."""
    found = IDENTITY if not key else _registry.get(key)
    if found is None:
        raise ScoreError(
            f"The score {key[:12]} no longer exists.",
            rule="A compiled graph refers to its score by its key and doesn't keep it alive.",
            fix="Keep the score in a variable or module attribute as long as the graph is used.",
        )
    return found


def _check_numbers(expr: sympy.Expr) -> None:
    """Raise ScoreError where a number of the expression isn't finite, but for -inf as a whole branch, or compared."""
    if expr == sympy.S.NegativeInfinity:
        return
    if expr in (sympy.S.Infinity, sympy.S.ComplexInfinity, sympy.S.NaN, sympy.S.ImaginaryUnit) or (
        not isinstance(expr, Choice | Compared) and sympy.S.NegativeInfinity in expr.args
    ):
        raise ScoreError(
            f"A score computes with {expr}.",
            rule="Its numbers are finite; -inf, which masks a pair, may only be the whole of a choice, or of one side "
            "of a comparison.",
            fix="Write attncc.where(condition, score, -math.inf), or put the condition into the pattern.",
        )
    for arg in () if isinstance(expr, AsReal | Lookup) else expr.args:
        _check_numbers(arg)


class _Canonical(StrPrinter):  # type: ignore[misc]
    """One text for one expression: floats as they are stored."""

    def _print_Float(self, expr: sympy.Float) -> str:
        return float(expr).hex()


#: The score as it is.
IDENTITY = ScoreExpression(SCORE)
