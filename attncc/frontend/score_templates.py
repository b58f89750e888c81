"""Templates of scores: what gives a score's expression once the shapes of its weights are known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sympy

from attncc._util import caching
from attncc._util.tracing import constant
from attncc.errors import ScoreError
from attncc.frontend.surroundings import surroundings
from attncc.ir.functions import Lookup, WeightsSymbol
from attncc.ir.packing import Packing
from attncc.ir.score import ScoreExpression, by_key
from attncc.ir.symbols import SCORE

#: Sizes of a score's weights, by slot.
Shapes = tuple[tuple[int, ...], ...]

#: What graphs of torch.compile name by key: such an expression lives as long as the process.
_in_graphs: set[ScoreExpression] = set()


class Template(Protocol):
    """A score without its weights. `names` are theirs, by slot."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def expression(self, shapes: Shapes) -> ScoreExpression:
        """Return the expression for weights of such shapes; raises ScoreError, or TableError."""

    def traced_key(self, shapes: Shapes) -> str:
        """Return its key, a constant of the graph that is being traced."""


class Builder(Protocol):
    """What makes expressions of parameters and shapes, by its function: a declared score."""

    @property
    def function(self) -> Callable[..., Any]: ...

    def built(self, parameters: Mapping[str, Any], shapes: Shapes) -> ScoreExpression: ...


@dataclass(frozen=True)
class Declared:
    """A declared score under parameters, (name, value) of each that isn't weights."""

    builder: Builder
    names: tuple[str, ...]
    parameters: tuple[tuple[str, Any], ...]

    def expression(self, shapes: Shapes) -> ScoreExpression:
        return _declared(self.builder, self.parameters, shapes, surroundings(self.builder.function))

    def traced_key(self, shapes: Shapes) -> str:
        names, values = [name for name, _ in self.parameters], [value for _, value in self.parameters]
        return _declared_key(self.builder, tuple(names), shapes, *values)


@dataclass(frozen=True)
class Fixed:
    """An expression that is made, for weights of these shapes only."""

    made: ScoreExpression
    names: tuple[str, ...] = ()
    shapes: Shapes = ()

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
        return _chained(self.first.expression(shapes[:own]), self.second.expression(shapes[own:]), own)

    def traced_key(self, shapes: Shapes) -> str:
        own = len(self.first.names)
        return _chained_key(self.first.traced_key(shapes[:own]), self.second.traced_key(shapes[own:]), own)


class Packer(Protocol):
    """What packs documents (attncc.frontend.documents)."""

    def packing(self, free: Collection[sympy.Symbol]) -> Packing: ...


@dataclass(frozen=True)
class InDocuments:
    """A score of the positions inside packed documents."""

    own: Template
    documents: Packer

    @property
    def names(self) -> tuple[str, ...]:
        return self.own.names

    def expression(self, shapes: Shapes) -> ScoreExpression:
        return _in_documents(self.own.expression(shapes), self.documents)

    def traced_key(self, shapes: Shapes) -> str:
        return _in_documents_key(self.own.traced_key(shapes), self.documents)


@caching.algebra(256)
def _declared(
    builder: Builder, parameters: tuple[tuple[str, Any], ...], shapes: Shapes, read: Hashable
) -> ScoreExpression:
    """Return the expression that a function makes; `read` are its surroundings."""
    return builder.built(dict(parameters), shapes)


@caching.algebra(256)
def _chained(first: ScoreExpression, second: ScoreExpression, slots: int) -> ScoreExpression:
    """Return the second expression on the first one's result, its weights behind the first one's `slots`."""
    moved = {read: _moved(read, slots) for read in second.lookups}
    return ScoreExpression(second.expr.xreplace(moved).xreplace({SCORE: first.expr}))


@caching.algebra(256)
def _in_documents(own: ScoreExpression, documents: Packer) -> ScoreExpression:
    return ScoreExpression(documents.packing(own.free).real(own.expr))


def _moved(read: Lookup, slots: int) -> Lookup:
    old = read.weights
    return Lookup(WeightsSymbol(old.slot + slots, old.shape, old.label), *read.indices)


@constant
def _declared_key(builder: Builder, names: tuple[str, ...], shapes: Shapes, *values: Any) -> str:
    """See Declared.traced_key: torch.compile takes objects as arguments of their own only."""
    return _key_in_graph(Declared(builder, names, tuple(zip(names, values, strict=True))).expression(shapes))


@constant
def _chained_key(first: str, second: str, slots: int) -> str:
    return _key_in_graph(_chained(by_key(first), by_key(second), slots))


@constant
def _in_documents_key(own: str, documents: Packer) -> str:
    return _key_in_graph(_in_documents(by_key(own), documents))


def _key_in_graph(expression: ScoreExpression) -> str:
    _in_graphs.add(expression)
    return expression.key
