"""Classes: the joins of a clause as numbers of query and key positions, equal exactly where all joins hold."""

from __future__ import annotations

import numpy as np
import sympy

from attncc.ir.evaluate import evaluate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.relation import Join

#: Class numbers and key values stay below this bound, so that a product of two fits in 64 bits.
CLASSES = 1 << 31


def classes_of(joins: tuple[Join, ...], query: Array, key: Array) -> tuple[Array, Array]:
    """Return the class numbers of positions `query` and `key`, int64, in the joins' lexicographic order."""
    of_query, of_key = np.zeros(len(query), np.int64), np.zeros(len(key), np.int64)
    for join in joins:
        of_query, of_key = _paired(of_query, of_key, _values(join.query, I, query), _values(join.key, J, key))
    return of_query, of_key


def _values(expr: sympy.Expr, symbol: sympy.Symbol, positions: Array) -> Array:
    return np.broadcast_to(np.asarray(evaluate(expr, {symbol: positions}), np.int64), positions.shape)


def _paired(a: Array, b: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Number the pairs (a, left) and (b, right) alike, in lexicographic order, by numbers below CLASSES."""
    if not len(left) or not len(right):
        return a, b
    left, right = _numbered(left, right)
    width = max(left.max(), right.max()) + 1
    return _numbered(a * width + left, b * width + right)


def _numbered(a: Array, b: Array) -> tuple[Array, Array]:
    """Shift two arrays to begin at 0; where their range is too wide, number the values instead. Order is kept."""
    low = min(a.min(), b.min())
    if max(a.max(), b.max()) - low < CLASSES:
        return a - low, b - low
    numbers = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
    return numbers[: len(a)], numbers[len(a) :]
