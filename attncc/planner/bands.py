"""Bands of a clause, evaluated: their limits at queries, and the first key that reaches one."""

from __future__ import annotations

import numpy as np
import sympy

from attncc.ir.arithmetic import direction
from attncc.ir.evaluate import evaluate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.axis import Axis
from attncc.planner.relation import Band


def rises(bands: tuple[Band, ...]) -> bool:
    """Return whether every limit is shown to be nondecreasing in i."""
    limits = [limit for band in bands for limit in (band.low, band.high) if limit is not None]
    return all((direction(limit, I) or 0) > 0 or I not in limit.free_symbols for limit in limits)


def key_values(band: Band, cols: Axis) -> Array | None:
    """Return the band's key expression at every key slot, int64; None when it is the slot itself times a constant."""
    if cols.positions is None and _step(band.key):
        return None
    values = evaluate(band.key, {J: cols.places})
    return np.broadcast_to(np.asarray(values, np.int64), cols.size)


def _step(key: sympy.Expr) -> int:
    """Return c > 0 if the key expression is c * j, else 0."""
    factor, rest = key.as_coeff_Mul()
    return int(factor) if rest == J else 0


def first_at_least(limit: Array, band: Band, values: Array | None) -> Array:
    """Return the first key slot whose key expression reaches `limit`."""
    slots: Array
    slots = np.maximum(-(-limit // _step(band.key)), 0) if values is None else np.searchsorted(values, limit)
    return slots


def limits(band: Band, query: Array) -> tuple[Array | None, Array | None]:
    """Return the band's limits at query positions, int64; None is no bound."""

    def at(limit: sympy.Expr | None) -> Array | None:
        return None if limit is None else np.broadcast_to(np.asarray(evaluate(limit, {I: query})), query.shape)

    return at(band.low), at(band.high)
