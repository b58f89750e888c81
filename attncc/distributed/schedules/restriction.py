"""Restrictions of patterns and scores to the query rows, key rows, heads and batch entries of a task.

Row r of a task stands for position `queries[r]`. Evenly spaced positions become `step * i + first`, so that bands and
congruences stay what they are; others become tables, and with them whatever depends on one position alone. The template
of a task's pattern is made once for all tables, and for all positions that become tables: what these hold is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import sympy

from attncc._util import caching
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import PatternTemplate, Tables
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.evaluate import evaluate
from attncc.ir.functions import AsReal, ConditionSymbol, Lookup
from attncc.ir.lists import IsMember
from attncc.ir.normal import comparison
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.quotient import quotient
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Array, Read, TableData, TableSymbol

#: What the slots of each symbol stand for: a formula of the slot, or None for a table of positions.
Outline = tuple[tuple[sympy.Symbol, sympy.Expr | None], ...]
#: What the slots of each symbol stand for, as numbers.
Values = Mapping[sympy.Symbol, Array]
#: The size of an axis: a number, or that of a table.
Size = int | tuple[TableSymbol, int]


@dataclass(frozen=True, eq=False)
class Restriction:
    """The positions, heads and batch entries that the rows of a task's tensors stand for.

    Attributes:
        queries, keys: Positions, int64.
        length: Of the whole sequence.
        heads, entries: Query heads and batch entries, int64, None where slot s stands for s itself.
    """

    queries: Array
    keys: Array
    length: int
    heads: Array | None = None
    entries: Array | None = None

    @cached_property
    def values(self) -> Values:
        """What each slot of a symbol stands for."""
        slots = {I: self.queries, J: self.keys, H: self.heads, B: self.entries}
        return {symbol: values for symbol, values in slots.items() if values is not None and len(values)}

    @cached_property
    def outline(self) -> Outline:
        """All that a task's template depends on: formulas where values are evenly spaced (a single one is a number)."""
        length = sympy.Integer(self.length)
        return (*((symbol, _formula(symbol, own)) for symbol, own in self.values.items()), (NQ, length), (NK, length))


def restricted(pattern: Pattern, restriction: Restriction) -> Pattern:
    """Return the pattern of a task: row r sees key row c where query `queries[r]` sees key `keys[c]`."""
    template, bindings = _template(pattern.template, restriction.outline)
    tables = [binding(pattern.bound, restriction.values) for binding in bindings]
    return Pattern(template, pattern.name, pattern.parameters, tables)


def restricted_score(score: ScoreExpression, restriction: Restriction) -> ScoreExpression:
    """Return the score of a task; weights are looked up where they were, in the same tensors."""
    return ScoreExpression(_Change.of(restriction.outline, restriction.values).real(score.expr))


class Binding(NamedTuple):
    """How the table of a task comes from the tables of the pattern, and from what the slots of symbols stand for.

    Attributes:
        make: Called with `arguments`, the pattern's tables, and the values of each symbol.
        name: Of the table.
    """

    name: str
    make: Callable[..., Array | TableData]
    arguments: tuple[object, ...]

    def __call__(self, tables: Tables, values: Values) -> TableData:
        made = self.make(*self.arguments, tables, values)
        return made if isinstance(made, TableData) else TableData(made, self.name)


@caching.algebra(1024)
def _template(template: PatternTemplate, outline: Outline) -> tuple[PatternTemplate, tuple[Binding, ...]]:
    """Return the template of a task, and how the tables in its placeholders come about."""
    change = _Change.of(outline)
    return PatternTemplate([change.predicate(template.predicate)]), tuple(change.tables)


@dataclass
class _Change:
    """Puts what slots stand for into expressions.

    Attributes:
        formulas: Of evenly spaced symbols, and of the lengths.
        listed: The other symbols.
        tables: The placeholders that are looked up then, or tables that are made at once, given the `values` of slots.
    """

    formulas: Mapping[sympy.Symbol, sympy.Expr]
    listed: frozenset[sympy.Symbol]
    values: Values | None
    tables: dict[Binding, TableSymbol] = field(default_factory=dict)

    @classmethod
    def of(cls, outline: Outline, values: Values | None = None) -> _Change:
        formulas = {symbol: formula for symbol, formula in outline if formula is not None}
        return cls(formulas, frozenset(symbol for symbol, formula in outline if formula is None), values)

    @property
    def symbols(self) -> frozenset[sympy.Symbol]:
        """Those whose slots stand for something else."""
        return frozenset(self.formulas) - {NQ, NK} | self.listed

    def predicate(self, predicate: Predicate) -> Predicate:
        return predicate.map(self._atom)

    def _atom(self, atom: Atom) -> Predicate:
        return comparison(atom.relation, self.whole(atom.expr))

    def real(self, expr: sympy.Expr) -> sympy.Expr:
        """Restrict the conditions and indices of a real expression."""
        match expr:
            case ConditionSymbol():
                return ConditionSymbol(self.predicate(expr.predicate))
            case AsReal():
                return AsReal(self.whole(expr.args[0]))
            case Lookup():
                sizes = zip(expr.indices, expr.weights.shape, strict=True)
                return Lookup(expr.weights, *(self._index(index, size) for index, size in sizes))
        if not expr.args:
            return expr
        return expr.func(*(self.real(arg) for arg in expr.args))

    def whole(self, expr: sympy.Expr) -> sympy.Expr:
        """Restrict an index expression."""
        if not expr.free_symbols & self.listed and not expr.has(Read):
            return expr.xreplace(self.formulas)
        if isinstance(expr, sympy.Mul) and expr.args[0].is_Integer:
            return expr.args[0] * self.whole(sympy.Mul(*expr.args[1:]))
        symbol = self._only_symbol(expr)
        if symbol is not None:
            return self._tabulated(expr, symbol)
        if isinstance(expr, Read):
            return self._read(expr)
        if isinstance(expr, sympy.Add):
            return sympy.Add(*(self.whole(part) for part in _by_symbols(expr)))
        if isinstance(expr, sympy.floor):
            numerator, denominator = floor_quotient(expr)
            return quotient(self.whole(numerator), self.whole(denominator))
        return expr.func(*(self.whole(arg) for arg in expr.args))

    def _read(self, read: Read) -> sympy.Expr:
        """Restrict a look-up; along axes that a lone symbol indexes, a table keeps what the slots look up."""
        table = read.table
        if not isinstance(table, Placeholder):
            indices = [self._index(*pair) for pair in zip(read.indices, read.shape, strict=True)]
            return self._moved(read, read.args[0], indices)
        if isinstance(read, IsMember):
            symbol = self._placed(Binding(table.name, _same, (read.args[0],)), table.numbered)
            return self._moved(read, symbol, [self._index(x, (read.args[0], n)) for n, x in enumerate(read.indices)])
        axes = {axis: index for axis, index in enumerate(read.indices) if index in self.symbols}
        kept = [axis for axis in range(len(read.indices)) if not self._is_single(axes.get(axis))] or [0]
        shared = tuple(table.is_shared(axis) for axis in kept)
        dropped = tuple(axis for axis in range(len(read.indices)) if axis not in kept)
        cut = Binding(table.name, _cut, (read.args[0], tuple(axes.items()), dropped))
        kind = TableKind(shared, table.is_boolean)
        symbol = self._placed(cut, lambda number: Placeholder(table.name, number, kind))
        indices = [self._index(read.indices[n], (read.args[0], n)) if n not in axes else axes[n] for n in kept]
        return Read(symbol, *(sympy.Integer(0) if self._is_single(index) else index for index in indices))

    def _moved(self, read: Read, table: sympy.Expr, indices: list[sympy.Expr]) -> sympy.Expr:
        return read.func(table, *indices, *(self.whole(each) for each in read.args[1 + len(indices) :]))

    def _index(self, index: sympy.Expr, size: Size) -> sympy.Expr:
        """Restrict the index of a look-up; where its guard can't be seen any more it is kept within 0 .. size-1."""
        symbol = self._only_symbol(index)
        if symbol is not None:
            return self._tabulated(index, symbol, size)
        moved = self.whole(index)
        if all(self._is_shifted(part) for part in index.free_symbols):
            return moved
        return sympy.Max(0, sympy.Min(self._last(size), moved))

    def _last(self, size: Size) -> sympy.Expr:
        """Return the greatest index of an axis."""
        if isinstance(size, int):
            return sympy.Integer(size - 1)
        return Read(self._numbers(Binding("last", _last, size)), sympy.Integer(0))

    def _tabulated(self, expr: sympy.Expr, symbol: sympy.Symbol, size: Size | None = None) -> sympy.Expr:
        """Return a look-up of what an expression is at the slots of a symbol, kept within an axis of that size."""
        lengths = expr.xreplace({length: self.formulas[length] for length in (NQ, NK)})
        slot = sympy.Integer(0) if self._is_single(symbol) and symbol in (B, H) else symbol
        return Read(self._numbers(Binding(f"{symbol}_of_rows", _values, (lengths, symbol, size))), slot)

    def _numbers(self, binding: Binding) -> TableSymbol:
        return self._placed(binding, lambda number: Placeholder(binding.name, number, TableKind((False,))))

    def _placed(self, binding: Binding, placeholder: Callable[[int], Placeholder]) -> TableSymbol:
        """Return the symbol of the table of a binding."""
        if binding not in self.tables:
            made = placeholder(len(self.tables)) if self.values is None else binding({}, self.values)
            self.tables[binding] = TableSymbol(made)
        return self.tables[binding]

    def _only_symbol(self, expr: sympy.Expr) -> sympy.Symbol | None:
        """Return the one symbol that an expression depends on, if it has to be, or looks something up, in a table."""
        symbols = expr.free_symbols - {NQ, NK}
        if len(symbols) != 1 or not symbols <= self.symbols:
            return None
        symbol: sympy.Symbol = next(iter(symbols))
        return None if symbol in self.formulas and not expr.has(Read) else symbol

    def _is_single(self, index: sympy.Expr | None) -> bool:
        """Return whether there is one slot of a symbol."""
        return index in self.formulas and self.formulas[index].is_Integer

    def _is_shifted(self, symbol: sympy.Symbol) -> bool:
        """Return whether guards bound the formula of a symbol as they bounded the symbol: all steps are 1."""
        if symbol not in self.symbols:
            return True
        return symbol in self.formulas and self.formulas[symbol].coeff(symbol) in (0, 1)


def _same(symbol: TableSymbol, tables: Tables, values: Values) -> TableData:
    return tables[symbol]


def _cut(
    symbol: TableSymbol,
    axes: tuple[tuple[int, sympy.Symbol], ...],
    dropped: tuple[int, ...],
    tables: Tables,
    values: Values,
) -> Array:
    """Return the rows of a table that the slots look up, without the axes that have one."""
    data = tables[symbol].data
    for axis, index in axes:
        data = _rows(data, values[index].clip(0, data.shape[axis] - 1), axis)
    return data.squeeze(dropped)


def _rows(data: Array, rows: Array, axis: int) -> Array:
    """Return rows of an array: a view where they follow one another."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and np.array_equal(rows, np.arange(first, last + 1)):
        return data[(slice(None),) * axis + (slice(first, last + 1),)]
    return data.take(rows, axis)


def _last(symbol: TableSymbol, axis: int, tables: Tables, values: Values) -> Array:
    return np.array([tables[symbol].data.shape[axis] - 1])


def _values(expr: sympy.Expr, symbol: sympy.Symbol, size: Size | None, tables: Tables, values: Values) -> Array:
    """Return what an expression is at the slots of a symbol."""
    found = np.asarray(evaluate(expr, {**tables, symbol: values[symbol]}), np.int64)
    if size is not None:
        most = size if isinstance(size, int) else tables[size[0]].data.shape[size[1]]
        found = np.clip(found, 0, most - 1)
    return np.broadcast_to(found, values[symbol].shape)


def _by_symbols(total: sympy.Add) -> list[sympy.Expr]:
    """Return the parts of a sum, terms in the same symbols together; what looks nothing up stays by itself."""
    parts: dict[frozenset[sympy.Symbol], list[sympy.Expr]] = {}
    for term in total.args:
        parts.setdefault(frozenset(term.free_symbols - {NQ, NK}), []).append(term)
    if len(parts) == 1:
        return list(total.args)
    return [sympy.Add(*terms) for terms in parts.values()]


def _formula(symbol: sympy.Symbol, values: Array) -> sympy.Expr | None:
    """Return values that are evenly spaced as a formula of their slot."""
    first, steps = int(values[0]), np.diff(values)
    if len(values) == 1:
        return sympy.Integer(first)
    if (steps == steps[0]).all() and steps[0] > 0:
        return int(steps[0]) * symbol + first
    return None
