"""Evaluation of expressions and predicates over arrays of positions, numpy's or torch's.

The environment maps symbols to integers or broadcastable int64 arrays of one kind. Table look-ups are clipped
to the table: a look-up outside it can only stand in a branch whose guard is false (the planner checks that).
Divisors below 1 count as 1, and shifts are clipped to 0 .. MAX_SHIFT: they are in range at the positions that there
are (it checks that, too), but not where what repeats is looked at beyond them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from functools import reduce
from typing import Any

import numpy as np
import sympy

from attncc._util import caching
from attncc.ir import lists
from attncc.ir.arithmetic import floor_quotient, split_sum
from attncc.ir.bits import MAX_SHIFT, Bitwise, LeftShift, RightShift
from attncc.ir.lists import IsMember
from attncc.ir.predicate import And, Atom, Connective, Constant, Predicate
from attncc.ir.quotient import FloorDiv
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array, Read, TableData

Environment = Mapping[sympy.Basic, Any]
#: Types of indices on the host: a position, or an array of them.
_ON_HOST = (int, np.ndarray)
#: What an expression or predicate is compiled to.
Evaluator = Callable[[Environment], Any]


def evaluate(expr: sympy.Expr, env: Environment) -> Any:
    """Return the value of `expr`: an int, or an int64 array of the environment's kind.

    A placeholder is looked up in the environment, too, which has the table in its place, or its entries as a tensor.
    """
    return evaluator(expr)(env)


def evaluate_predicate(predicate: Predicate, env: Environment) -> Any:
    """Return where `predicate` holds: a bool array of the environment's kind (or a bool, if nothing is an array)."""
    return predicate_evaluator(predicate)(env)


def predicate_evaluator(predicate: Predicate) -> Evaluator:
    """Return a function of an environment that `evaluate_predicate` calls, made once for many."""
    if isinstance(predicate, Atom):
        return comparison_evaluator(predicate)
    return lambda env: _Evaluation(env, predicate.shared).of(predicate)


class Consecutive(dict[sympy.Basic, Any]):
    """An environment in which a symbol has the consecutive integers first .. last - 1; they are listed if need be.

    Entries of a table that they alone look up are a part of it, a view.
    """

    def __init__(self, env: Environment, symbol: sympy.Symbol, first: int, last: int) -> None:
        super().__init__(env)
        self.symbol, self.first, self.last = symbol, first, last

    def __missing__(self, symbol: sympy.Basic) -> Any:
        if symbol != self.symbol:
            raise KeyError(symbol)
        found = self[symbol] = np.arange(self.first, self.last)
        return found

    def part_of(self, table: Any) -> Any:
        """Return the entries of a table of one dimension that the integers look up; None where some lie outside."""
        if isinstance(table, TableData) and self.first >= 0 and self.last <= table.data.shape[0]:
            return table.data[self.first : self.last].astype(np.int64, copy=False)
        return None


@caching.algebra(4096)
def evaluator(expr: sympy.Expr) -> Evaluator:
    """Return a function of an environment: the expression is walked once, however often it is evaluated."""
    match expr:
        case sympy.Integer():
            value = int(expr)
            return lambda env: value
        case sympy.Symbol():
            return operator.itemgetter(expr)
        case sympy.Add():
            return _summed(expr)
        case sympy.Mul():
            return _folded(operator.mul, expr)
        case sympy.Pow():
            base, exponent = evaluator(expr.base), int(expr.exp)
            return lambda env: base(env) ** exponent
        case sympy.Mod():
            return _divided(operator.mod, *expr.args)
        case sympy.floor() | FloorDiv():
            return _divided(operator.floordiv, *floor_quotient(expr))
        case sympy.Min():
            return _folded(lambda a, b: _choose(a < b, a, b), expr)
        case sympy.Max():
            return _folded(lambda a, b: _choose(a > b, a, b), expr)
        case sympy.Abs():
            (of,) = _arguments(expr)
            return lambda env: abs(of(env))
        case Bitwise():
            return _folded(type(expr).function, expr)
        case LeftShift() | RightShift():
            number, by = _arguments(expr)
            shift = operator.lshift if isinstance(expr, LeftShift) else operator.rshift
            return lambda env: shift(number(env), _clip(by(env), 0, MAX_SHIFT))
        case IsMember():
            find, sought = _table(expr), evaluator(expr.value)
            row = [evaluator(index) for index in expr.indices]
            return lambda env: _sought(find(env), [index(env) for index in row], sought(env))
        case Read():
            return _reader(expr)
    raise TypeError(f"no evaluation rule for {type(expr).__name__}")


def _arguments(expr: sympy.Expr) -> list[Evaluator]:
    return [evaluator(arg) for arg in expr.args]


def _folded(combine: Callable[[Any, Any], Any], expr: sympy.Expr) -> Evaluator:
    """Return what combines the arguments from the left."""
    first, *others = _arguments(expr)

    def value(env: Environment) -> Any:
        found = first(env)
        for other in others:
            found = combine(found, other(env))
        return found

    return value


def _summed(expr: sympy.Add) -> Evaluator:
    """Return what adds the terms, and subtracts those with a minus, in place of a product with -1 of each entry."""
    taken = [term for term in expr.args if term.as_coeff_Mul()[0] == -1]
    if len(taken) == len(expr.args):
        return _folded(operator.add, expr)
    first, *others = (evaluator(term) for term in expr.args if term not in taken)
    subtracted = [evaluator(-term) for term in taken]

    def value(env: Environment) -> Any:
        found = first(env)
        for other in others:
            found = found + other(env)
        for other in subtracted:
            found = found - other(env)
        return found

    return value


def _divided(divide: Callable[[Any, Any], Any], numerator: sympy.Expr, denominator: sympy.Expr) -> Evaluator:
    of, by = evaluator(numerator), evaluator(denominator)
    return lambda env: divide(of(env), _clip(by(env), 1))


def _reader(expr: Read) -> Evaluator:
    find, places = _table(expr), [evaluator(index) for index in expr.indices]
    if len(places) == 2:
        first, second = places
        return lambda env: _look_up(find(env), [first(env), second(env)])
    if len(places) > 2:
        return lambda env: _look_up(find(env), [index(env) for index in places])
    [place], [index] = places, expr.indices

    def value(env: Environment) -> Any:
        table = find(env)
        if isinstance(env, Consecutive) and env.symbol is index and (part := env.part_of(table)) is not None:
            return part
        return _look_up(table, [place(env)])

    return value


def _table(expr: Read) -> Callable[[Environment], TableData]:
    """Return what gives the table of a look-up; the one in a placeholder's place is in the environment."""
    symbol = expr.args[0]
    if expr.table.is_placeholder:
        return lambda env: env[symbol]
    return lambda env: symbol.table


class _Evaluation:
    """One evaluation of a predicate, with the values of the parts that occur in it more than once."""

    def __init__(self, env: Environment, shared: Collection[Predicate]) -> None:
        self.env, self.shared = env, shared
        self.kept: dict[Predicate, Any] = {}

    def of(self, predicate: Predicate) -> Any:
        match predicate:
            case Atom():
                return comparison_evaluator(predicate)(self.env)
            case Constant():
                return predicate.value
            case Connective():
                if predicate in self.kept:
                    return self.kept[predicate]
                join = operator.and_ if isinstance(predicate, And) else operator.or_
                value = reduce(join, map(self.of, predicate.args))
                if predicate in self.shared:
                    self.kept[predicate] = value
                return value
        raise TypeError(f"no evaluation rule for {type(predicate).__name__}")


@caching.algebra(4096)
def comparison_evaluator(atom: Atom) -> Evaluator:
    """Return where a comparison holds: one operation for each pair, where a side is free of i and the other of j."""
    relate = {"ge": operator.ge, "eq": operator.eq, "ne": operator.ne}[atom.relation]
    parts = split_sum(atom.expr, I, J)
    if parts is None or not all(part.free_symbols for part in parts):
        parts = atom.expr, sympy.S.Zero
    left, right = evaluator(parts[0]), evaluator(sympy.expand(-parts[1]))
    return lambda env: relate(left(env), right(env))


def _choose(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, bool | np.bool_):
        return yes if condition else no
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    import torch

    return torch.where(condition, yes, no)


def _look_up(table: Any, indices: list[Any]) -> Any:
    if isinstance(table, TableData):
        for index in indices:
            if not isinstance(index, _ON_HOST):
                break
        else:
            return _look_up_on_host(table.data, indices)
    clipped = tuple(_clip(index, 0, size - 1) for index, size in zip(indices, table.shape, strict=True))
    found = _beside(table, clipped)[clipped]
    if not isinstance(found, np.ndarray | np.generic):
        return found  # a tensor, whose entries nobody waits for
    return int(found) if all(isinstance(index, int) for index in clipped) else found.astype(np.int64, copy=False)


def _look_up_on_host(entries: Array, indices: list[int | Array]) -> Any:
    """Return entries at integers, which are taken first, and at arrays."""
    arrays: list[Array] = []
    for index in indices:
        axis = len(arrays)
        if isinstance(index, int):
            place = min(max(index, 0), entries.shape[axis] - 1)
            entries = entries[place] if not axis else entries[:, place] if axis == 1 else entries.take(place, axis)
        else:
            arrays.append(index)
    if not arrays:
        return int(entries)
    if len(arrays) == 1:
        found = entries.take(arrays[0], mode="clip")
    else:
        found = entries[tuple([_clip(index, 0, size - 1) for index, size in zip(arrays, entries.shape, strict=True)])]
    return found.astype(np.int64, copy=False)


def _sought(table: Any, row: list[Any], value: Any) -> Any:
    clipped = tuple(_clip(index, 0, size - 1) for index, size in zip(row, table.shape, strict=False))
    marked = table.marked if isinstance(table, TableData) else None
    if marked is not None:
        found = _flag(marked, (*clipped, _clip(value, -1, marked.shape[-1] - 2) + 1))
    elif (found := _crossed(table, clipped, value)) is None:
        found = lists.contains(_beside(table, (*clipped, value)), clipped, value)
    return int(found) if isinstance(found, np.generic) else found


def _crossed(table: Any, row: tuple[Any, ...], value: Any) -> Any:
    """Return whether values are in rows where each row is asked for each value and all is on the host; else None."""
    shapes = [np.shape(each) for each in row]
    if np.ndim(value) < 2 or value.shape[-2] != 1 or not all(shape[-1:] in ((), (1,)) for shape in shapes):
        return None
    if not isinstance(table, TableData) or max(map(len, shapes)) < 2:
        return None
    if _on_torch((*row, value)) is None:
        return lists.contains_crossed(table.data, row, value)
    import torch

    arrays = [x.numpy() if type(x) is torch.Tensor and x.is_cpu else x for x in (*row, value)]
    if table.tensor is not None or not all(isinstance(x, _ON_HOST) for x in arrays):
        return None
    found = lists.contains_crossed(table.data, tuple(arrays[:-1]), arrays[-1])
    return None if found is None else torch.from_numpy(found)


def _flag(table: TableData, place: tuple[Any, ...]) -> Any:
    """Return entries of a boolean table as 0 or 1, int64; a byte for each is read."""
    on_torch = _on_torch(place)
    return table.data[place] * 1 if on_torch is None else table.flags_on(on_torch.device)[place].long()


def _beside(table: Any, values: tuple[Any, ...]) -> Any:
    """Return the entries of a table, on the device of what they are looked up by; a tensor is these itself."""
    if not isinstance(table, TableData):
        return table
    on_torch = _on_torch(values)
    return table.on(on_torch.device) if on_torch is not None else table.data


def _on_torch(values: tuple[Any, ...]) -> Any:
    """Return the first tensor among values, None where there is none."""
    return next((x for x in values if hasattr(x, "device") and not isinstance(x, np.ndarray | np.generic)), None)


def _clip(value: Any, least: int, most: int | None = None) -> Any:
    if isinstance(value, int):
        value = max(value, least)
        return value if most is None else min(value, most)
    if not isinstance(value, np.ndarray):
        return value.clip(least, most)
    clipped = np.maximum(value, least)  # .clip takes several times as long for few entries
    return clipped if most is None else np.minimum(clipped, most)
