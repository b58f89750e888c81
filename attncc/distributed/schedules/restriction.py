"""Restrictions of patterns and scores to the query rows, key rows, heads and batch entries of a task.

Row r of a task stands for position `queries[r]`. Evenly spaced positions become `step * i + first`, so that bands and
congruences stay what they are; others become tables, and with them whatever depends on one position alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy

from attncc.frontend.patterns import Pattern
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.evaluate import evaluate
from attncc.ir.functions import AsReal, ConditionSymbol, Lookup
from attncc.ir.lists import IsMember
from attncc.ir.normal import comparison
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.quotient import quotient
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Array, Read, TableData, TableSymbol


@dataclass(frozen=True, eq=False)
class Restriction:
    """The positions, heads and batch entries that the rows of a task's tensors stand for.

    queries, keys: positions, int64. length: of the whole sequence. heads, entries: query heads and batch entries,
    int64, None where slot s stands for s itself.
    """

    queries: Array
    keys: Array
    length: int
    heads: Array | None = None
    entries: Array | None = None

    @cached_property
    def values(self) -> Mapping[sympy.Symbol, Array]:
        """What each slot of a symbol stands for."""
        slots = {I: self.queries, J: self.keys, H: self.heads, B: self.entries}
        return {symbol: values for symbol, values in slots.items() if values is not None and len(values)}

    @cached_property
    def formulas(self) -> Mapping[sympy.Symbol, sympy.Expr]:
        """Symbols whose values are evenly spaced (a single one is a number), and the lengths."""
        found = {symbol: _formula(symbol, values) for symbol, values in self.values.items()}
        lengths = {NQ: sympy.Integer(self.length), NK: sympy.Integer(self.length)}
        return {**{symbol: formula for symbol, formula in found.items() if formula is not None}, **lengths}


def restricted(pattern: Pattern, restriction: Restriction) -> Pattern:
    """Return the pattern of a task: row r sees key row c where query `queries[r]` sees key `keys[c]`."""
    return Pattern([_restricted_predicate(pattern.predicate, restriction)], pattern.name, pattern.parameters)


def restricted_score(score: ScoreExpression, restriction: Restriction) -> ScoreExpression:
    """Return the score of a task; weights are looked up where they were, in the same tensors."""
    return ScoreExpression(_restricted_real(score.expr, restriction))


def _restricted_predicate(predicate: Predicate, restriction: Restriction) -> Predicate:
    def change(atom: Atom) -> Predicate:
        return comparison(atom.relation, _restricted(atom.expr, restriction))

    return predicate.map(change)


def _restricted_real(expr: sympy.Expr, restriction: Restriction) -> sympy.Expr:
    """Restrict the conditions and indices of a real expression."""
    match expr:
        case ConditionSymbol():
            return ConditionSymbol(_restricted_predicate(expr.predicate, restriction))
        case AsReal():
            return AsReal(_restricted(expr.args[0], restriction))
        case Lookup():
            sizes = zip(expr.indices, expr.weights.shape, strict=True)
            return Lookup(expr.weights, *(_index(index, size, restriction) for index, size in sizes))
    if not expr.args:
        return expr
    return expr.func(*(_restricted_real(arg, restriction) for arg in expr.args))


def _restricted(expr: sympy.Expr, restriction: Restriction) -> sympy.Expr:
    """Restrict an index expression."""
    if not expr.free_symbols:
        return expr
    if _is_even(expr, restriction) and not expr.has(Read):
        return expr.xreplace(restriction.formulas)
    if isinstance(expr, sympy.Mul) and expr.args[0].is_Integer:
        return expr.args[0] * _restricted(sympy.Mul(*expr.args[1:]), restriction)
    symbol = _only_symbol(expr, restriction)
    if symbol is not None:
        return _tabulated(
            evaluate(_with_lengths(expr, restriction), {symbol: restriction.values[symbol]}), symbol, restriction
        )
    if isinstance(expr, Read):
        return _restricted_read(expr, restriction)
    if isinstance(expr, sympy.Add):
        return sympy.Add(*(_restricted(part, restriction) for part in _by_symbols(expr)))
    if isinstance(expr, sympy.floor):
        numerator, denominator = floor_quotient(expr)
        return quotient(_restricted(numerator, restriction), _restricted(denominator, restriction))
    return expr.func(*(_restricted(arg, restriction) for arg in expr.args))


def _restricted_read(read: Read, restriction: Restriction) -> sympy.Expr:
    """Restrict a look-up; along axes that a lone symbol indexes the table keeps only what the slots look up."""
    data, indices = read.table.data, []
    for axis, index in enumerate(read.indices):
        if index in restriction.values:
            rows = restriction.values[index].clip(0, data.shape[axis] - 1)
            data = data.take(rows, axis)
            indices.append(index if len(rows) > 1 else sympy.Integer(0))
        else:
            indices.append(_index(index, data.shape[axis], restriction))
    table = TableSymbol(read.table if data is read.table.data else TableData(data, read.table.name))
    if isinstance(read, IsMember):
        return IsMember(table, *indices, _restricted(read.value, restriction))
    if all(index.is_Integer for index in indices):
        at = (min(max(int(index), 0), size - 1) for index, size in zip(indices, data.shape, strict=True))
        return sympy.Integer(int(data[tuple(at)]))
    return Read(table, *indices)


def _index(index: sympy.Expr, size: int, restriction: Restriction) -> sympy.Expr:
    """Restrict the index of a look-up; where its guard can't be seen any more it is kept within 0 .. size-1."""
    symbol = _only_symbol(index, restriction)
    if symbol is not None:
        found = evaluate(_with_lengths(index, restriction), {symbol: restriction.values[symbol]})
        return _tabulated(np.clip(found, 0, size - 1), symbol, restriction)
    moved = _restricted(index, restriction)
    if all(_is_shifted(part, restriction) for part in index.free_symbols):
        return moved
    return sympy.Max(0, sympy.Min(size - 1, moved))


def _only_symbol(expr: sympy.Expr, restriction: Restriction) -> sympy.Symbol | None:
    """Return the one symbol that an expression depends on, if it has to be, or looks something up, in a table."""
    symbols = expr.free_symbols - {NQ, NK}
    if len(symbols) != 1 or not symbols <= restriction.values.keys():
        return None
    symbol: sympy.Symbol = next(iter(symbols))
    return None if symbol in restriction.formulas and not expr.has(Read) else symbol


def _tabulated(values: Array, symbol: sympy.Symbol, restriction: Restriction) -> sympy.Expr:
    """Return a look-up of values, one a slot of a symbol, or the number that all of them are."""
    values = np.broadcast_to(values, restriction.values[symbol].shape)
    if (values == values[0]).all():
        return sympy.Integer(int(values[0]))
    return Read(TableSymbol(TableData(values, f"{symbol}_of_rows")), symbol)


def _is_even(expr: sympy.Expr, restriction: Restriction) -> bool:
    """Return whether an expression needs no table of positions."""
    return all(symbol in restriction.formulas or symbol not in restriction.values for symbol in expr.free_symbols)


def _is_shifted(symbol: sympy.Symbol, restriction: Restriction) -> bool:
    """Return whether guards bound the formula of a symbol as they bounded the symbol: all steps are 1."""
    if symbol not in restriction.values:
        return True
    return symbol in restriction.formulas and restriction.formulas[symbol].coeff(symbol) in (0, 1)


def _with_lengths(expr: sympy.Expr, restriction: Restriction) -> sympy.Expr:
    return expr.xreplace({length: restriction.formulas[length] for length in (NQ, NK)})


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
