"""Evaluation of expressions and predicates over arrays of positions, numpy's or torch's.

The environment maps symbols to integers or broadcastable int64 arrays of one kind. Table look-ups are clipped
to the table: a look-up outside it can only stand in a branch whose guard is false (the planner checks that).
Divisors below 1 count as 1, and shifts are clipped to 0 .. MAX_SHIFT: they are in range at the positions that there
are (it checks that, too), but not where what repeats is looked at beyond them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import sympy

from attncc.ir import lists
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.bits import MAX_SHIFT, Bitwise, LeftShift, RightShift
from attncc.ir.lists import IsMember
from attncc.ir.predicate import And, Atom, Comparator, Connective, Constant, Predicate
from attncc.ir.quotient import FloorDiv
from attncc.ir.tables import Read, TableData

Environment = Mapping[sympy.Symbol, Any]


def evaluate(expr: sympy.Expr, env: Environment) -> Any:
    """Return the value of `expr`: an int, or an int64 array of the environment's kind."""
    match expr:
        case sympy.Integer():
            return int(expr)
        case sympy.Symbol():
            return env[expr]
        case sympy.Add():
            return reduce(operator.add, _arguments(expr, env))
        case sympy.Mul():
            return reduce(operator.mul, _arguments(expr, env))
        case sympy.Pow():
            return evaluate(expr.base, env) ** int(expr.exp)
        case sympy.Mod():
            dividend, modulus = _arguments(expr, env)
            return dividend % _clip(modulus, 1)
        case sympy.floor() | FloorDiv():
            numerator, denominator = floor_quotient(expr)
            return evaluate(numerator, env) // _clip(evaluate(denominator, env), 1)
        case sympy.Min():
            return reduce(lambda a, b: _choose(a < b, a, b), _arguments(expr, env))
        case sympy.Max():
            return reduce(lambda a, b: _choose(a > b, a, b), _arguments(expr, env))
        case sympy.Abs():
            return abs(evaluate(expr.args[0], env))
        case Bitwise():
            return reduce(type(expr).function, _arguments(expr, env))
        case LeftShift() | RightShift():
            number, by = _arguments(expr, env)
            shift = operator.lshift if isinstance(expr, LeftShift) else operator.rshift
            return shift(number, _clip(by, 0, MAX_SHIFT))
        case IsMember():
            *row, value = (evaluate(arg, env) for arg in expr.args[1:])
            return _sought(expr, row, value)
        case Read():
            return _look_up(expr, [evaluate(index, env) for index in expr.indices])
    raise TypeError(f"no evaluation rule for {type(expr).__name__}")


def evaluate_predicate(predicate: Predicate, env: Environment) -> Any:
    """Return where `predicate` holds: a bool array of the environment's kind (or a bool, if nothing is an array)."""
    return _evaluated(predicate, env, dict.fromkeys(predicate.shared))


def _evaluated(predicate: Predicate, env: Environment, kept: dict[Predicate, Any]) -> Any:
    """Evaluate a predicate; `kept` has the value, once there is one, of each part that occurs again."""
    match predicate:
        case Constant():
            return predicate.value
        case Atom():
            return _related(evaluate(predicate.expr, env), predicate.relation)
        case Connective():
            if (known := kept.get(predicate)) is not None:
                return known
            join = operator.and_ if isinstance(predicate, And) else operator.or_
            value = reduce(join, (_evaluated(arg, env, kept) for arg in predicate.args))
            if predicate in kept:
                kept[predicate] = value
            return value
    raise TypeError(f"no evaluation rule for {type(predicate).__name__}")


def _related(value: Any, relation: Comparator) -> Any:
    match relation:
        case "ge":
            return value >= 0
        case "eq":
            return value == 0
        case "ne":
            return value != 0


def _arguments(expr: sympy.Expr, env: Environment) -> list[Any]:
    return [evaluate(arg, env) for arg in expr.args]


def _choose(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, bool | np.bool_):
        return yes if condition else no
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    import torch

    return torch.where(condition, yes, no)


def _look_up(read: Read, indices: list[Any]) -> Any:
    clipped = _clipped(read, indices)
    found = _beside(read.table, clipped)[clipped]
    if all(isinstance(index, int) for index in clipped):
        return int(found)
    return found.astype(np.int64) if isinstance(found, np.ndarray | np.generic) else found


def _sought(member: IsMember, row: list[Any], value: Any) -> Any:
    clipped = _clipped(member, row)
    found = lists.contains(_beside(member.table, (*clipped, value)), clipped, value)
    return int(found) if all(isinstance(part, int) for part in (*clipped, value)) else found


def _clipped(read: Read, indices: list[Any]) -> tuple[Any, ...]:
    return tuple(_clip(index, 0, size - 1) for index, size in zip(indices, read.shape, strict=True))


def _beside(table: TableData, values: tuple[Any, ...]) -> Any:
    """Return the entries, on the device of what they are looked up by."""
    on_torch = next((x for x in values if hasattr(x, "device") and not isinstance(x, np.ndarray | np.generic)), None)
    return table.on(on_torch.device) if on_torch is not None else table.data


def _clip(value: Any, least: int, most: int | None = None) -> Any:
    if isinstance(value, int):
        value = max(value, least)
        return value if most is None else min(value, most)
    return value.clip(least, most)
