"""Predicates: Boolean trees over integer comparisons, closed under `& | ~ ^`.

A comparison is an `Atom`, `expr >= 0`, `expr == 0` or `expr != 0` over a sympy integer expression in lowest
terms. Negation is pushed into the atoms as a tree is built, so no node for it exists. Equal connectives are one
object, so that what a chain of `^` uses twice at each link is kept, and walked, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from weakref import WeakValueDictionary

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
    def _mapped(self, change: Callable[[Atom], Predicate], done: dict[Predicate, Predicate]) -> Predicate:
        """Rebuild the tree; `done` holds what was rebuilt before."""

    def map(self, change: Callable[[Atom], Predicate]) -> Predicate:
        """Rebuild the tree with every atom replaced by `change(atom)`."""
        return self._mapped(change, {})

    @property
    @abstractmethod
    def atoms(self) -> frozenset[Atom]:
        """The comparisons in the tree."""

    @property
    def occurrences(self) -> int:
        """How many comparisons the tree has, written out: each as often as it occurs."""
        return 1

    @property
    def depth(self) -> int:
        """Connectives on the longest way down to a comparison."""
        return 0

    @property
    def shared(self) -> frozenset[Predicate]:
        """The connectives that occur more than once."""
        return frozenset()

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

    def _mapped(self, change: Callable[[Atom], Predicate], done: dict[Predicate, Predicate]) -> Predicate:
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

    def negated(self) -> Atom:
        return self._negated

    @cached_property
    def _negated(self) -> Atom:
        if self.relation == "ge":
            return Atom("ge", -self.expr - 1)
        return Atom("ne" if self.relation == "eq" else "eq", self.expr)

    def _mapped(self, change: Callable[[Atom], Predicate], done: dict[Predicate, Predicate]) -> Predicate:
        return change(self)

    def __reduce__(self) -> tuple[object, ...]:
        return Atom, (self.relation, self.expr)

    @cached_property
    def atoms(self) -> frozenset[Atom]:
        return frozenset([self])


@dataclass(frozen=True)
class Connective(Predicate):
    """`And` or `Or` of at least two others."""

    args: frozenset[Predicate]

    @cached_property
    def atoms(self) -> frozenset[Atom]:
        return frozenset[Atom]().union(*(arg.atoms for arg in self.args))

    @cached_property
    def occurrences(self) -> int:
        return sum(arg.occurrences for arg in self.args)

    @cached_property
    def depth(self) -> int:
        return 1 + max(arg.depth for arg in self.args)

    @cached_property
    def shared(self) -> frozenset[Predicate]:
        above: Counter[Predicate] = Counter()
        waiting: list[Predicate] = [self]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Connective):
                waiting += [arg for arg in node.args if arg not in above]
                above.update(node.args)
        return frozenset(node for node, number in above.items() if number > 1 and isinstance(node, Connective))

    def negated(self) -> Predicate:
        return self._negated

    @cached_property
    def _negated(self) -> Predicate:
        return self._dual(arg.negated() for arg in self.args)

    def _mapped(self, change: Callable[[Atom], Predicate], done: dict[Predicate, Predicate]) -> Predicate:
        if self not in done:
            done[self] = self._join(arg._mapped(change, done) for arg in self.args)
        return done[self]

    @staticmethod
    @abstractmethod
    def _join(parts: Iterable[Predicate]) -> Predicate:
        """Connect `parts` in this way."""

    @staticmethod
    @abstractmethod
    def _dual(parts: Iterable[Predicate]) -> Predicate:
        """Connect `parts` in the other way."""

    def __reduce__(self) -> tuple[object, ...]:
        return _only, (type(self), self.args)


class And(Connective):
    """All of `args` hold."""

    @staticmethod
    def _join(parts: Iterable[Predicate]) -> Predicate:
        return conjunction(parts)

    @staticmethod
    def _dual(parts: Iterable[Predicate]) -> Predicate:
        return disjunction(parts)


class Or(Connective):
    """At least one of `args` holds."""

    @staticmethod
    def _join(parts: Iterable[Predicate]) -> Predicate:
        return disjunction(parts)

    @staticmethod
    def _dual(parts: Iterable[Predicate]) -> Predicate:
        return conjunction(parts)


#: The connectives that are in use, by kind and arguments.
_known: WeakValueDictionary[tuple[type[Connective], frozenset[Predicate]], Connective] = WeakValueDictionary()


def _only(node: type[Connective], args: frozenset[Predicate]) -> Connective:
    """Return the one connective of this kind with these arguments."""
    return _known.setdefault((node, args), node(args))


def conjunction(parts: Iterable[Predicate]) -> Predicate:
    """Return the intersection, flattened, without constants."""
    return _flattened(parts, And, neutral=TRUE, zero=FALSE)


def disjunction(parts: Iterable[Predicate]) -> Predicate:
    """Return the union, flattened, without constants."""
    return _flattened(parts, Or, neutral=FALSE, zero=TRUE)


def _flattened(parts: Iterable[Predicate], node: type[And | Or], *, neutral: Constant, zero: Constant) -> Predicate:
    args: set[Predicate] = set()
    for part in parts:
        if part == zero:
            return zero
        added = part.args if isinstance(part, node) else {part}
        fewer, more = sorted((args, added), key=len)  # neither has a comparison and its negation
        if any(isinstance(arg, Atom) and arg.negated() in more for arg in fewer):
            return zero
        args |= added
    args.discard(neutral)
    if len(args) > 1:
        return _only(node, frozenset(args))
    return next(iter(args), neutral)
