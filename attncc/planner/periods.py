"""Periods: filters and joins that repeat along an axis, and the cycles of rows and keys that they make."""

from __future__ import annotations

import numpy as np
import sympy

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.period import common, common_period, period
from attncc.ir.predicate import TRUE, Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.classes import classes_of
from attncc.planner.cycle import Cycle
from attncc.planner.relation import Relation
from attncc.planner.shape import Shape

#: Residues that are listed; a longer period saves little over listing the axis.
MAX_RESIDUES = 1 << 22


def cycles(relation: Relation, shape: Shape) -> tuple[Cycle, Cycle] | None:
    """Return the rows and the keys of a clause by its joins, classes numbered alike; None where no period is shown."""
    turn_i = _period(relation.query_filter, [join.query for join in relation.joins], I)
    turn_j = _period(relation.key_filter, [join.key for join in relation.joins], J)
    if turn_i is None or turn_j is None:
        return None
    turn_i, turn_j = min(turn_i, max(shape.q_len, 1)), min(turn_j, max(shape.kv_len, 1))
    if max(turn_i, turn_j) > MAX_RESIDUES:
        return None
    rows = _passing(relation.query_filter, I, turn_i, shape.q_offset)
    cols = _passing(relation.key_filter, J, turn_j, 0)
    of_row, of_col = classes_of(relation.joins, rows + shape.q_offset, cols)
    known, number = np.unique(np.concatenate([of_row, of_col]), return_inverse=True)
    count = max(len(known), 1)
    return (
        Cycle.of(shape.q_len, turn_i, rows, number[: len(rows)], count),
        Cycle.of(shape.kv_len, turn_j, cols, number[len(rows) :], count),
    )


def _period(condition: Predicate, keys: list[sympy.Expr], symbol: sympy.Symbol) -> int | None:
    """Return a number of positions after which a filter and join keys are shown to be the same, or None."""
    along = frozenset([(symbol, 1)])
    return common([common_period(condition, along), *(period(key, along) for key in keys)])


def _passing(condition: Predicate, symbol: sympy.Symbol, turn: int, offset: int) -> Array:
    residues = np.arange(turn)
    if condition == TRUE:
        return residues
    holds = np.broadcast_to(evaluate_predicate(condition, {symbol: residues + offset}), turn)
    return np.flatnonzero(holds)
