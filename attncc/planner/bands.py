"""Bands of a clause, evaluated: their limits at queries, and the first key that reaches one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sympy

from attncc._util import caching
from attncc.ir.arithmetic import direction, floor_quotient
from attncc.ir.evaluate import evaluate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.axis import Axis
from attncc.planner.pieces import Pieces, pieces_of
from attncc.planner.relation import Band


def rises(bands: tuple[Band, ...]) -> bool:
    """Return whether every limit is shown to be nondecreasing in i."""
    limits = [limit for band in bands for limit in (band.low, band.high) if limit is not None]
    return all((direction(limit, I) or 0) > 0 or I not in limit.free_symbols for limit in limits)


def key_values(band: Band, cols: Axis) -> Array | None:
    """Return the band's key expression at every key slot, int64; None where its inverse is known in closed form."""
    if cols.order is None and inverse(band.key) is not None:
        return None
    values = evaluate(band.key, {J: cols.places})
    return np.broadcast_to(np.asarray(values, np.int64), cols.size)


def first_at_least(limit: Array, band: Band, values: Array | None, cols: Axis) -> Array:
    """Return the first key slot whose key expression reaches `limit`, `cols.size` or more if none does."""
    if values is not None:
        return _sought(values, limit)
    least, most = (int(evaluate(band.key, {J: position})) for position in (0, max(cols.size - 1, 0)))
    first = inverse(band.key)
    assert first is not None
    slots: Array = np.maximum(first(np.clip(limit, least, most + 1)), 0)
    return slots


def first_piece_at_least(limit: Pieces, beyond: int, band: Band, cols: int) -> Pieces | None:
    """Return what `first_at_least` does for limits in pieces, plus `beyond`, over the keys 0 .. cols-1 in their order.

    None where it isn't known in pieces.
    """
    if band.key == J:
        return Pieces(limit.length, limit.first, limit.base + beyond, limit.slope)
    keys = pieces_of(band.key, J, cols)
    if keys is None or keys.slope.any():
        return None
    opens = np.append(keys.first, cols)
    return limit.mapped(lambda base: opens[np.searchsorted(keys.base, base + beyond)])


def _sought(values: Array, limit: Array) -> Array:
    """Search for each limit among ascending values; where equal limits follow each other, for one of them."""
    if limit.ndim != 1:
        return _sought(values, limit.ravel()).reshape(limit.shape)
    opens = np.flatnonzero(limit[1:] != limit[:-1]) + 1
    if 2 * len(opens) > len(limit):
        return np.searchsorted(values, limit)
    begin = np.concatenate([np.zeros(min(len(limit), 1), np.int64), opens])
    return np.repeat(np.searchsorted(values, limit[begin]), np.diff(begin, append=len(limit)))


#: The least integer j, of either sign, for which a key expression reaches a limit.
Inverse = Callable[[Any], Any]


@caching.algebra(1024)
def inverse(key: sympy.Expr) -> Inverse | None:
    """Return the inverse of a key expression made of j, sums with constants, multiples, and quotients rounded down.

    It takes a limit, an integer or an array of them. None for other expressions.
    """
    match key:
        case sympy.Symbol():
            return (lambda limit: limit) if key == J else None
        case sympy.Add():
            constant, rest = key.as_independent(J)
            within = inverse(rest) if constant.is_Integer and rest != key else None
            return within and _after(within, partial(_less, int(constant)))
        case sympy.Mul():
            constant, rest = key.as_independent(J)
            within = inverse(rest) if constant.is_Integer and constant > 0 and rest != key else None
            return within and _after(within, partial(_quotient_above, int(constant)))
        case sympy.floor():
            numerator, denominator = floor_quotient(key)
            within = inverse(numerator) if denominator.is_Integer and denominator > 0 else None
            return within and _after(within, partial(operator.mul, int(denominator)))
    return None


def _after(second: Inverse, first: Inverse) -> Inverse:
    return lambda limit: second(first(limit))


def _less(constant: int, limit: Any) -> Any:
    return limit - constant


def _quotient_above(divisor: int, limit: Any) -> Any:
    return -(-limit // divisor)


def limits(band: Band, query: Array) -> tuple[Array | None, Array | None]:
    """Return the band's limits at query positions, int64; None is no bound."""

    def at(limit: sympy.Expr | None) -> Array | None:
        return None if limit is None else np.broadcast_to(np.asarray(evaluate(limit, {I: query})), query.shape)

    return at(band.low), at(band.high)
