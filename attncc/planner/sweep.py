"""Sweeps: runs along many lines at once, joined where they meet, and counted where they lie over each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.order import opens, order_by


class LineRuns(NamedTuple):
    """Runs `start <= place < stop` of lines, int64 (runs,) each."""

    line: Array
    start: Array
    stop: Array

    @classmethod
    def together(cls, several: list[LineRuns]) -> LineRuns:
        """Return the runs of several, in their order."""
        none = cls(*np.empty((3, 0), np.int64))
        return cls(*map(np.concatenate, zip(none, *several, strict=True)))

    def of(self, chosen: Array) -> LineRuns:
        """Return the runs at `chosen`."""
        return LineRuns(*(column[chosen] for column in self))

    def joined(self) -> LineRuns:
        """Return disjoint runs sorted by line and start, with those that touch as one; none is empty."""
        runs = self.of(self.stop > self.start)
        runs = runs.of(order_by(runs.line, runs.start))
        begins = opens(runs.line)
        begins[1:] |= runs.start[1:] != runs.stop[:-1]
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(runs.line))[: len(first)] - 1
        return LineRuns(runs.line[first], runs.start[first], runs.stop[last])


def counted(layers: list[LineRuns]) -> tuple[LineRuns, Array]:
    """Return the runs between all ends of the layers, and how many runs of each layer lie over them.

    Returns:
        Runs sorted by line and start, and their counts, int64 (layers, runs).
    """
    line = np.concatenate([runs.line for runs in layers for _ in range(2)])
    place = np.concatenate([end for runs in layers for end in (runs.start, runs.stop)])
    turn = np.zeros((len(layers), len(line)), np.int64)
    first = 0
    for number, runs in enumerate(layers):
        size = len(runs.line)
        turn[number, first : first + size], turn[number, first + size : first + 2 * size] = 1, -1
        first += 2 * size
    order = order_by(line, place)
    line, place, counts = line[order], place[order], np.cumsum(turn[:, order], axis=1)
    kept = np.flatnonzero((line[1:] == line[:-1]) & (place[1:] > place[:-1]))
    return LineRuns(line[kept], place[kept], place[kept + 1]), counts[:, kept]
