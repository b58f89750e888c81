"""Pyramids: bounds of the entries of any box of an array, by which look-ups are bounded."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Pyramid:
    """Minima and maxima of an array over aligned blocks of 2^k entries a side, k = 0, 1, ...

    At the level that fits it, at most three blocks a side cover a query box of any size. So its bounds are sound
    everywhere, and exact on aligned boxes; all levels together are twice the array. With `high`, entries are intervals
    from `low` to `high`.
    """

    def __init__(self, low: Array, high: Array | None = None) -> None:
        """Keep the data and what is made of it in its own type: a table of booleans is large enough in bytes."""
        self.low, self.high = low, low if high is None else high

    @cached_property
    def levels(self) -> list[tuple[Array, Array]]:
        """Minima and maxima of blocks, from those of one entry to that of all of them."""
        low, high = self.low, self.high
        found = [(low, high)]
        while max(low.shape) > 1:
            low, high = _halve(low, np.minimum), _halve(high, np.maximum)
            found.append((low, high))
        return found

    @cached_property
    def whole(self) -> tuple[int, int]:
        """The least and the greatest entry."""
        return int(self.low.min()), int(self.high.max())

    def bounds(self, box: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """Return sound (low, high) of the data over each box, given inclusive index ranges per dimension."""
        shape = self.low.shape
        clipped = [np.clip(end, 0, n - 1) for ends, n in zip(box, shape, strict=True) for end in ends]
        parts = np.broadcast_arrays(*(np.asarray(part, np.int64) for part in clipped))
        if all(np.all(part == end) for part, end in zip(parts, (e for n in shape for e in (0, n - 1)), strict=True)):
            return np.full(parts[0].shape, self.whole[0]), np.full(parts[0].shape, self.whole[1])
        lows, highs = [p.ravel() for p in parts[0::2]], [p.ravel() for p in parts[1::2]]
        extent = np.maximum.reduce([hi - lo for lo, hi in zip(lows, highs, strict=True)])
        level = np.minimum(_floor_log2(np.maximum(extent, 0) + 1), len(self.levels) - 1)
        out_low, out_high = (
            np.empty(level.shape, np.int64),
            np.empty(level.shape, np.int64),
        )
        for k in np.unique(level):
            at = level == k
            out_low[at], out_high[at] = self._at_level(int(k), [x[at] for x in lows], [x[at] for x in highs])
        return out_low.reshape(parts[0].shape), out_high.reshape(parts[0].shape)

    def aligned(self, first: Array, bits: int) -> tuple[Array, Array]:
        """Return the exact (low, high) of 2^bits entries of a line of them, from each of `first`, multiples of that."""
        low, high = self.levels[min(bits, len(self.levels) - 1)]
        block = first >> bits
        return low[block], high[block]

    def _at_level(self, k: int, lows: list[Array], highs: list[Array]) -> tuple[Array, Array]:
        low, high = self.levels[k]
        choices: list[list[Array]] = []
        for lo, hi in zip(lows, highs, strict=True):
            first, last = lo >> k, hi >> k
            blocks = int((last - first).max(initial=0)) + 1  # 1 for aligned boxes
            choices.append([first, last, np.minimum(first + 1, last)][:blocks])
        corners = list(itertools.product(*choices))
        return (
            np.minimum.reduce([low[corner] for corner in corners]),
            np.maximum.reduce([high[corner] for corner in corners]),
        )


class AnyEntries:
    """The pyramid of entries that aren't known: their least and greatest value, with unbounded arithmetic."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def bounds(self, box: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """Return the same bounds for every box."""
        shape = np.broadcast_shapes(*(np.shape(end) for ends in box for end in ends))
        return np.full(shape, self.least, object), np.full(shape, self.most, object)


def _halve(level: Array, reduce: np.ufunc) -> Array:
    for axis in range(level.ndim):
        before = (slice(None),) * axis
        odd = level[(*before, slice(1, None, 2))]
        paired = (*before, slice(odd.shape[axis]))
        level = level[(*before, slice(0, None, 2))].copy()  # the last has no neighbour where their number is odd
        reduce(level[paired], odd, out=level[paired])
    return level


def _floor_log2(x: Array) -> Array:
    """Floor of log2 for 1 <= x < 2^52, exactly: frexp gives the exponent of the leading bit."""
    exponent: Array = np.frexp(x.astype(np.float64))[1] - 1
    return exponent
