"""Predicates: Boolean trees over integer comparisons, closed under `& | ~ ^`.

A comparison is an `Atom`, `expr >= 0`, `expr == 0` or `expr != 0` over a sympy integer expression in lowest
terms. Negation is pushed into the atoms as a tree is built, so no node for it exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import sympy

from attncc.ir.tables import Read, TableData

#: How a comparison relates its expression to 0: `>=`, `==` or `!=`.
Comparator = Literal["ge", "eq", "ne"]


class Predicate(ABC):
    """Base of the four node types; plain immutable data. Combine with `& | ~ ^`."""

    def __and__(self, other: Predicate) -> Predicate:
        return conjunction([self, other])

    def __or__(self, other: Predicate) -> Predicate:
        return disjunction([self, other])

    def __xor__(self, other: Predicate) -> Predicate:
        return (self & ~other) | (~self & other)

    def __invert__(self) -> Predicate:
        return self.negated()

    @abstractmethod
    def negated(self) -> Predicate:
        """Return the complement."""

    @abstractmethod
    def map(self, change: Callable[[Atom], Predicate]) -> Predicate:
        """Rebuild the tree with every atom replaced by `change(atom)`."""

    @property
    @abstractmethod
    def atoms(self) -> frozenset[Atom]:
        """The comparisons in the tree."""

    @cached_property
    def free(self) -> frozenset[sympy.Symbol]:
        """The symbols that the predicate depends on."""
        return frozenset(symbol for atom in self.atoms for symbol in atom.expr.free_symbols)

    @cached_property
    def tables(self) -> frozenset[TableData]:
        """The tables that the predicate reads."""
        return frozenset(read.table for atom in self.atoms for read in atom.expr.atoms(Read))


@dataclass(frozen=True)
class Constant(Predicate):
    """All pairs, or none."""

    value: bool

    def negated(self) -> Predicate:
        return FALSE if self.value else TRUE

    def map(self, change: Callable[[Atom], Predicate]) -> Predicate:
        return self

    @property
    def atoms(self) -> frozenset[Atom]:
        return frozenset()


TRUE, FALSE = Constant(True), Constant(False)


@dataclass(frozen=True)
class Atom(Predicate):
    """`expr >= 0` ("ge"), `expr == 0` ("eq") or `expr != 0` ("ne"); build with attncc.ir.normal.comparison."""

    relation: Comparator
    expr: sympy.Expr

    def negated(self) -> Predicate:
        if self.relation == "ge":
            return Atom("ge", -self.expr - 1)
        return Atom("ne" if self.relation == "eq" else "eq", self.expr)

    def map(self, change: Callable[[Atom], Predicate]) -> Predicate:
        return change(self)

    @property
    def atoms(self) -> frozenset[Atom]:
        return frozenset([self])


@dataclass(frozen=True)
class Connective(Predicate):
    """`And` or `Or` of at least two others."""

    args: frozenset[Predicate]

    @property
    def atoms(self) -> frozenset[Atom]:
        return frozenset[Atom]().union(*(arg.atoms for arg in self.args))


class And(Connective):
    """All of `args` hold."""

    def negated(self) -> Predicate:
        return disjunction(arg.negated() for arg in self.args)

    def map(self, change: Callable[[Atom], Predicate]) -> Predicate:
        return conjunction(arg.map(change) for arg in self.args)


class Or(Connective):
    """At least one of `args` holds."""

    def negated(self) -> Predicate:
        return conjunction(arg.negated() for arg in self.args)

    def map(self, change: Callable[[Atom], Predicate]) -> Predicate:
        return disjunction(arg.map(change) for arg in self.args)


def conjunction(parts: Iterable[Predicate]) -> Predicate:
    """Return the intersection, flattened, without constants."""
    args: set[Predicate] = set()
    for part in parts:
        if part == FALSE:
            return FALSE
        args |= part.args if isinstance(part, And) else {part}
    return _collapse(args - {TRUE}, And, empty=TRUE, clash=FALSE)


def disjunction(parts: Iterable[Predicate]) -> Predicate:
    """Return the union, flattened, without constants."""
    args: set[Predicate] = set()
    for part in parts:
        if part == TRUE:
            return TRUE
        args |= part.args if isinstance(part, Or) else {part}
    return _collapse(args - {FALSE}, Or, empty=FALSE, clash=TRUE)


def _collapse(args: set[Predicate], node: type[And | Or], *, empty: Predicate, clash: Predicate) -> Predicate:
    if not args:
        return empty
    if len(args) == 1:
        return next(iter(args))
    if any(isinstance(arg, Atom) and arg.negated() in args for arg in args):
        return clash
    return node(frozenset(args))
