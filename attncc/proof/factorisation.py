"""Factorisation: information reaches every query from every earlier position through the subsets in turn.

Child et al. (2019), section 4.2, require for p subsets that each j <= i has a path of at most p + 1 locations
(j, a, b, ..., i) with j in A_a^(1), a in A_b^(2) and so on. A step may be left out, since the residual connection
carries a position's own state past a layer: that is what "at most" allows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import networkx as nx
import numpy as np
import sympy

from attncc.ir.arithmetic import floor_quotient
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.interval import NEVER, exactly, verdict
from attncc.ir.normal import comparison, depends_on_gap, digest
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H, I, J
from attncc.patterns import Pattern
from attncc.planner.shape import Shape
from attncc.planner.specialise import check, specialise
from attncc.proof.finding import Finding, named, place

NAME = "factorisation"
#: Most pairs that are evaluated, and most edges of the graph, before the question is left undecided.
MAX_PAIRS, MAX_EDGES = 1 << 28, 1 << 21

Node = tuple[int, int]


class _TooLargeError(Exception):
    """The graph that decides the question is too large."""


def prove(pattern: Pattern, shape: Shape) -> Finding:
    """Decide whether some order of the subsets connects every j <= i; the counterexample is a pair and a path.

    The graph has a node for each location after each step, and only those that paths from the sources reach. For
    causal subsets that repeat every T positions the sources of one period decide for all.
    """
    check(pattern.predicate, shape)
    order: tuple[int, ...] = ()
    for where, subsets in _members(pattern, shape):
        try:
            outcome = _decide(subsets, shape, where)
        except _TooLargeError:
            rule = f"the graph would have more than {MAX_EDGES:,} edges at this length; ask for a shorter one"
            return Finding(NAME, None, rule)
        if isinstance(outcome, Finding):
            return outcome
        order = outcome
    names = ", ".join(f"A({m + 1})" for m in order)
    return Finding(NAME, True, f"every j <= i has a path of at most {len(order) + 1} locations, by {names} in turn")


def _members(pattern: Pattern, shape: Shape) -> list[tuple[dict[str, object], list[Predicate]]]:
    """Return the subsets of every head and batch entry that has subsets of its own."""
    free = pattern.predicate.free
    found: dict[tuple[str, ...], tuple[dict[str, object], list[Predicate]]] = {}
    for b, h in itertools.product(range(shape.batch if B in free else 1), range(shape.heads if H in free else 1)):
        subsets = [specialise(subset, shape, b, h) for subset in pattern.subsets]
        where = place(b if B in free else None, h if H in free else None)
        found.setdefault(tuple(map(digest, subsets)), (where, subsets))
    return list(found.values())


def _decide(subsets: list[Predicate], shape: Shape, where: dict[str, object]) -> tuple[int, ...] | Finding:
    """Return an order of the subsets that works, or the refutation of all orders."""
    sources = np.arange(min(_period(subsets, shape), shape.q_len))
    refutation: Finding | None = None
    for order in itertools.permutations(range(len(subsets))):
        graph = _graph([subsets[m] for m in order], sources, shape.q_len)
        missing = _unconnected(graph, sources, len(order), shape.q_len)
        if missing is None:
            return order
        refutation = refutation or _refuted(graph, missing, len(order), where)
    assert refutation is not None  # there is at least one order
    return refutation


def _graph(subsets: Sequence[Predicate], sources: np.ndarray, length: int) -> nx.DiGraph:
    """Return the layered graph: (m, x) is location x after m steps, reached from any of the sources."""
    graph = nx.DiGraph()
    frontier, budget = sources, MAX_PAIRS
    for step, subset in enumerate(subsets, start=1):
        graph.add_edges_from(((step - 1, x), (step, x)) for x in frontier.tolist())
        budget -= length * len(frontier)
        reached = [frontier]
        for chunk in np.array_split(frontier, -(-length * len(frontier) // (1 << 22))):
            if budget < 0 or graph.number_of_edges() > MAX_EDGES:
                raise _TooLargeError
            holds = evaluate_predicate(subset, {I: np.arange(length)[:, None], J: chunk[None, :]})
            query, key = np.nonzero(np.broadcast_to(holds, (length, len(chunk))))
            if len(query) > MAX_EDGES:
                raise _TooLargeError
            steps = zip(chunk[key].tolist(), query.tolist(), strict=True)
            graph.add_edges_from(((step - 1, x), (step, y)) for x, y in steps)
            reached.append(query)
        frontier = np.unique(np.concatenate(reached))
    return graph


def _unconnected(graph: nx.DiGraph, sources: np.ndarray, steps: int, length: int) -> Node | None:
    """Return a pair (j, i), j <= i, that no path joins, or None."""
    for source in sources.tolist():
        reached = {x for step, x in nx.descendants(graph, (0, source)) if step == steps}
        missing = next((i for i in range(source, length) if i not in reached), None)
        if missing is not None:
            return source, missing
    return None


def _refuted(graph: nx.DiGraph, pair: Node, steps: int, where: dict[str, object]) -> Finding:
    source, target = pair
    ends = [node for node in nx.descendants(graph, (0, source)) if node[0] == steps]
    nearest = min(ends, key=lambda node: (abs(node[1] - target), node[1]))
    path = [x for x, _ in itertools.groupby(x for _, x in nx.shortest_path(graph, (0, source), nearest))]
    shown = " → ".join(map(str, path))
    detail = f"no path from {source} to {target}{named(where)} in any order; the nearest that it comes is {shown}"
    return Finding(NAME, False, detail, {"j": source, "i": target, "nearest_path": path, **where})


def _period(subsets: list[Predicate], shape: Shape) -> int:
    """Return a T so that paths from sources 0 .. T-1 decide for all: the length itself if nothing better is shown.

    Causal paths from j stay at or after j, so that a shift down by a multiple of T keeps them inside.
    """
    if not all(_is_causal(subset, shape) for subset in subsets):
        return shape.q_len
    if all(depends_on_gap(subset) for subset in subsets):
        return 1
    period = math.lcm(*(divisor for subset in subsets for divisor in _divisors(subset)))
    return period if all(_repeats(subset, period) for subset in subsets) else shape.q_len


def _is_causal(subset: Predicate, shape: Shape) -> bool:
    """Return whether j <= i is shown by interval evaluation of what the subset has with a gap i - j < 0."""
    gap = sympy.Symbol("gap", integer=True, positive=True)
    later = subset.map(lambda atom: comparison(atom.relation, sympy.expand(atom.expr.xreplace({J: I + gap}))))
    box = {I: (exactly(0), exactly(shape.q_len - 1)), gap: (exactly(1), exactly(shape.kv_len - 1))}
    return bool(verdict(later, box)[0] == NEVER)


def _divisors(subset: Predicate) -> list[int]:
    """Return the constant moduli and divisors in a predicate."""
    found = [mod.args[1] for atom in subset.atoms for mod in atom.expr.atoms(sympy.Mod)]
    found += [floor_quotient(floor)[1] for atom in subset.atoms for floor in atom.expr.atoms(sympy.floor)]
    return [int(divisor) for divisor in found if divisor.is_Integer]


def _repeats(subset: Predicate, period: int) -> bool:
    """Return whether the subset is shown to be the same after a shift of both positions by `period`."""
    moved = subset.map(lambda atom: comparison(atom.relation, atom.expr.xreplace({I: I + period, J: J + period})))
    return digest(moved) == digest(subset)
