"""Templates of scores: what gives a score's expression once the shapes of its weights are known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sympy

from attncc._util import caching
from attncc._util.tracing import constant
from attncc.errors import ScoreError
from attncc.frontend.declared import placeholder
from attncc.frontend.graph_templates import HasParameters, Slot, kind_of
from attncc.frontend.surroundings import surroundings
from attncc.ir.functions import Lookup, WeightsSymbol
from attncc.ir.packing import Packing
from attncc.ir.placeholders import UnboundError
from attncc.ir.score import ScoreExpression, by_key
from attncc.ir.symbols import SCORE
from attncc.ir.tables import TableData

#: Sizes of a score's weights, by slot.
Shapes = tuple[tuple[int, ...], ...]

#: What graphs of torch.compile name by key: such an expression lives as long as the process.
_in_graphs: set[ScoreExpression] = set()


class Template(Protocol):
    """A score without its weights. `names` are theirs, by slot, and `tables` the number of those that a graph gives."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def tables(self) -> int: ...

    def expression(self, shapes: Shapes) -> ScoreExpression:
        """Return the expression for weights of such shapes; raises ScoreError, or TableError."""

    def traced_key(self, shapes: Shapes) -> str:
        """Return its key, a constant of the graph that is being traced."""


class Builder(HasParameters, Protocol):
    """What makes expressions of parameters and shapes, by its function: a declared score."""

    @property
    def function(self) -> Callable[..., Any]: ...

    def built(self, parameters: Mapping[str, Any], shapes: Shapes) -> ScoreExpression: ...


@dataclass(frozen=True)
class Declared:
    """A declared score under parameters, (name, value) of each that isn't weights, or a table that a graph gives."""

    builder: Builder
    names: tuple[str, ...]
    parameters: tuple[tuple[str, Any], ...]
    slots: tuple[Slot, ...] = ()

    @property
    def tables(self) -> int:
        return len(self.slots)

    def expression(self, shapes: Shapes) -> ScoreExpression:
        return _declared(self.builder, self.parameters, shapes, surroundings(self.builder.function))

    def traced_key(self, shapes: Shapes) -> str:
        names, values = [name for name, _ in self.parameters], [value for _, value in self.parameters]
        return _declared_key(self.builder, tuple(names), shapes, self.slots, *values)


@dataclass(frozen=True)
class Fixed:
    """An expression that is made, for weights of these shapes only."""

    made: ScoreExpression
    names: tuple[str, ...] = ()
    shapes: Shapes = ()
    tables: int = 0

    def expression(self, shapes: Shapes) -> ScoreExpression:
        for name, wanted, given in zip(self.names, self.shapes, shapes, strict=True):
            if wanted != given:
                raise ScoreError(
                    f"Weights {name!r} of shape {given} in place of {wanted}.",
                    rule="A score that was pickled, or made of an expression, is for weights of certain shapes.",
                    fix="Call the declared score again with these weights.",
                )
        return self.made

    def traced_key(self, shapes: Shapes) -> str:
        return self.expression(shapes).key


@dataclass(frozen=True)
class Chained:
    """A score followed by another, which gets its result; weights of the second whose name is taken get another."""

    first: Template
    second: Template
    names: tuple[str, ...]

    @classmethod
    def of(cls, first: Template, second: Template) -> Chained:
        names = list(first.names)
        for name in second.names:
            slot = len(names)
            while name in names:
                name = f"{name}_{slot}"
            names.append(name)
        return cls(first, second, tuple(names))

    def expression(self, shapes: Shapes) -> ScoreExpression:
        own = len(self.first.names)
        return _chained(self.first.expression(shapes[:own]), self.second.expression(shapes[own:]), own, 0)

    @property
    def tables(self) -> int:
        return self.first.tables + self.second.tables

    def traced_key(self, shapes: Shapes) -> str:
        own = len(self.first.names)
        keys = self.first.traced_key(shapes[:own]), self.second.traced_key(shapes[own:])
        return _chained_key(*keys, own, self.first.tables)


class Packer(Protocol):
    """What packs documents (attncc.frontend.documents) or sequences (attncc.frontend.sequences)."""

    def packing(self, free: Collection[sympy.Symbol]) -> Packing: ...


@dataclass(frozen=True)
class Repositioned:
    """A score whose positions are those of another's: it has the other's weights, and its tables first.

    Attributes:
        own: The other score.
    """

    own: Template

    @property
    def names(self) -> tuple[str, ...]:
        return self.own.names

    @property
    def added(self) -> int:
        """The number of tables that a graph gives after the other score's own."""
        return 0

    @property
    def tables(self) -> int:
        return self.own.tables + self.added


@dataclass(frozen=True)
class InPacking(Repositioned):
    """A score of the positions inside packed documents, or of a batch's sequences."""

    packer: Packer

    def expression(self, shapes: Shapes) -> ScoreExpression:
        return _packed(self.own.expression(shapes), self.packer)

    def traced_key(self, shapes: Shapes) -> str:
        return _packed_key(self.own.traced_key(shapes), self.packer)


@caching.algebra(256)
def _declared(
    builder: Builder, parameters: tuple[tuple[str, Any], ...], shapes: Shapes, read: Hashable
) -> ScoreExpression:
    """Return the expression that a function makes; `read` are its surroundings."""
    return builder.built(dict(parameters), shapes)


@caching.algebra(256)
def _chained(first: ScoreExpression, second: ScoreExpression, slots: int, tables: int) -> ScoreExpression:
    """Return the second expression on the first one's result, its weights and tables behind the first one's."""
    moved = second.with_tables({own: own.numbered(own.number + tables) for own in second.placeholders})
    weights = {read: _moved(read, slots) for read in moved.lookups}
    return ScoreExpression(moved.expr.xreplace(weights).xreplace({SCORE: first.expr}))


@caching.algebra(256)
def bound(score: ScoreExpression, tables: tuple[TableData, ...]) -> ScoreExpression:
    """Return a score with tables in the places of its placeholders; raises TableError unless they are of its kinds."""
    for stand_in in score.placeholders:
        stand_in.check(tables[stand_in.number])
    return score.with_tables({stand_in: tables[stand_in.number] for stand_in in score.placeholders})


@caching.algebra(256)
def _packed(own: ScoreExpression, packer: Packer) -> ScoreExpression:
    return ScoreExpression(packer.packing(own.free).real(own.expr))


def _moved(read: Lookup, slots: int) -> Lookup:
    old = read.weights
    return Lookup(WeightsSymbol(old.slot + slots, old.shape, old.label), *read.indices)


@constant
def _declared_key(
    builder: Builder, names: tuple[str, ...], shapes: Shapes, slots: tuple[Slot, ...], *values: Any
) -> str:
    """See Declared.traced_key: torch.compile takes objects as arguments of their own only."""
    stand_ins = [(slot[0], placeholder(slot[0], n, kind_of(builder, *slot))) for n, slot in enumerate(slots)]
    try:
        parameters = (*zip(names, values, strict=True), *stand_ins)
        return key_in_graphs(Declared(builder, names, parameters).expression(shapes))
    except UnboundError as error:
        raise ScoreError(
            f"A score is made inside of a graph. {error}",
            rule="A graph is for all tables of a kind: a score that it makes may look them up, and nothing else.",
            fix="Look entries up by positions only, or make the score before, for example in __init__.",
        ) from None


@constant
def _chained_key(first: str, second: str, slots: int, tables: int) -> str:
    return key_in_graphs(_chained(by_key(first), by_key(second), slots, tables))


@constant
def _packed_key(own: str, packer: Packer) -> str:
    return key_in_graphs(_packed(by_key(own), packer))


def key_in_graphs(expression: ScoreExpression) -> str:
    """Return the key of an expression that a graph makes, which nothing else keeps alive."""
    _in_graphs.add(expression)
    return expression.key
