"""Orders: rows of whole numbers sorted by columns, where they change, and ranges listed one after the other."""

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


def ranges(first: Array | int, count: Array) -> Array:
    """Return first[n], first[n] + 1, ... for each n, count[n] numbers of each, int64 (sum of counts,)."""
    return np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - first, count)


def _narrow(column: Array) -> Array:
    """Cast small numbers down, so that numpy sorts them by radix."""
    small = len(column) > 0 and column.min() >= 0 and column.max() < 1 << 16
    return column.astype(np.uint16) if small else column
