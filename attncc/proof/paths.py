"""Paths through the subsets in turn, as a layered graph: node (m, x) is location x after m steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array

#: Most pairs that are evaluated, and most edges of a graph, before a question is left undecided.
MAX_PAIRS, MAX_EDGES = 1 << 28, 1 << 21
#: Pairs that are evaluated together.
CHUNK = 1 << 22


class TooLargeError(Exception):
    """The graph that decides the question is too large; the message says what it has."""


class Paths:
    """All paths from `sources`, ascending int64 (S,), that take or leave out one step of each subset, in order.

    Only locations that the sources reach are in the graph. Raises TooLargeError beyond MAX_PAIRS or MAX_EDGES.
    """

    def __init__(self, subsets: Sequence[Predicate], sources: Array, length: int) -> None:
        self.steps, self.sources, self.length = len(subsets), sources, length
        self.graph = nx.DiGraph()
        frontier, budget = sources, MAX_PAIRS
        for step, subset in enumerate(subsets, start=1):
            # The residual connection carries a location's own state past a step.
            self._add(step, frontier, frontier)
            budget -= length * len(frontier)
            if budget < 0:
                raise TooLargeError(f"more than {MAX_PAIRS:,} pairs to evaluate")
            reached = [frontier]
            for key, query in _edges(subset, frontier, length):
                self._add(step, key, query)
                reached.append(query)
            frontier = np.unique(np.concatenate(reached))

    def _add(self, step: int, keys: Array, queries: Array) -> None:
        if self.graph.number_of_edges() + len(keys) > MAX_EDGES:
            raise TooLargeError(f"more than {MAX_EDGES:,} edges")
        pairs = zip(keys.tolist(), queries.tolist(), strict=True)
        self.graph.add_edges_from(((step - 1, x), (step, y)) for x, y in pairs)

    def unconnected(self) -> list[int]:
        """Return for each location the sources at or before it that have no path to it, as the bits of an integer."""
        carried = self._carried()
        earlier = np.searchsorted(self.sources, np.arange(self.length), side="right").tolist()
        return [((1 << n) - 1) & ~carried.get(x, 0) for x, n in enumerate(earlier)]

    def _carried(self) -> dict[int, int]:
        """Return the sources whose state comes to each location after the last step, one bit each."""
        bits = {(0, x): 1 << number for number, x in enumerate(self.sources.tolist())}
        for node in nx.topological_sort(self.graph):
            for successor in self.graph.successors(node):
                bits[successor] = bits.get(successor, 0) | bits[node]
        return {x: state for (step, x), state in bits.items() if step == self.steps}

    def reached(self) -> list[list[int]]:
        """Return the locations reached after each step, the first step's first, ascending."""
        return [sorted(x for at, x in self.graph if at == step) for step in range(1, self.steps + 1)]

    def path(self, target: int) -> list[int]:
        """Return the locations of a path from the first source to `target`, which is reached, without repetition."""
        walk = nx.shortest_path(self.graph, (0, int(self.sources[0])), (self.steps, target))
        return [x for x, _ in itertools.groupby(x for _, x in walk)]


def _edges(subset: Predicate, keys: Array, length: int) -> Iterator[tuple[Array, Array]]:
    """Yield (keys, queries) of the subset's edges from `keys`, some keys at a time."""
    together = max(1, CHUNK // max(1, length))
    for begin in range(0, len(keys), together):
        chunk = keys[begin : begin + together]
        holds = evaluate_predicate(subset, {I: np.arange(length)[:, None], J: chunk[None, :]})
        query, key = np.nonzero(np.broadcast_to(holds, (length, len(chunk))))
        yield chunk[key], query
