"""Orders: rows of whole numbers sorted by columns; small numbers are cast down, so that numpy sorts them by radix."""

from __future__ import annotations

import numpy as np

from attncc.ir.tables import Array


def order_by(*columns: Array) -> Array:
    """Return the order of rows by the first column, then by the second and so on; rows that are alike stay in order."""
    return np.lexsort([_narrow(column) for column in reversed(columns)])


def opens(*columns: Array) -> Array:
    """Return where a row differs from the one before it, bool (rows,); the first one does."""
    found = np.ones(len(columns[0]), bool)
    found[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return found


def _narrow(column: Array) -> Array:
    small = len(column) > 0 and column.min() >= 0 and column.max() < 1 << 16
    return column.astype(np.uint16) if small else column
