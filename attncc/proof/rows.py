"""Empty rows: whether every query sees a key, decided on the plan's passes."""

from __future__ import annotations

import numpy as np

from attncc.ir.tables import Array
from attncc.patterns import Pattern
from attncc.planner.bisect import pairs
from attncc.planner.plan import Group, Pass
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape
from attncc.proof.finding import Finding, named, of_group

NAME = "no empty rows"


def prove(pattern: Pattern, shape: Shape) -> Finding:
    """Decide whether every query sees at least one key; the counterexample is a query."""
    for group in plan_for(pattern, shape).groups:
        blind = np.flatnonzero(~_seeing(group, shape.q_len))
        if len(blind):
            where = of_group(group)
            query = int(blind[0]) + shape.q_offset
            count = f"{len(blind):,} queries see" if len(blind) > 1 else "one query sees"
            detail = f"{count} no key{named(where)}, the first of them {query}"
            return Finding(NAME, False, detail, {"i": query, **where})
    return Finding(NAME, True, "every query sees a key")


def _seeing(group: Group, q_len: int) -> Array:
    """Return which query rows see a key in a group, by the alternative with the fewest passes to evaluate."""
    simplest = min(group.alternatives, key=lambda way: sum(work.residual is not None for work in way.passes))
    seeing = np.zeros(q_len, bool)
    for work in simplest.passes:
        seeing[work.rows.at(_slots(work))] = True
    return seeing


def _slots(work: Pass) -> Array:
    if work.residual is None:
        start, stop = work.staircase.bounds()
        return np.flatnonzero(stop > start)
    found = [rows for rows, _ in pairs(work.layout, work.q_offset, work.tiles)]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
