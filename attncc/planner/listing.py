"""Listing: the keys of a single query, as a decoding step has it, found by evaluating the predicate once for each.

With one query every comparison is a filter on keys, whatever it is in a clause: joins, residuals and tables need no
layout of their own. Bands still bound the keys that are looked at. So a step costs no more than a few operations on
an array, for any length, tables and offset, and batch entries and heads are told apart by their rows of one array.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from attncc._util import caching
from attncc.frontend.templates import Tables, put
from attncc.ir.evaluate import Environment, evaluate, evaluate_predicate
from attncc.ir.normal import TooManyClausesError
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Array
from attncc.planner import cost
from attncc.planner.axis import Axis
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.key_ranges import KeyRanges, constant
from attncc.planner.layout import Layout
from attncc.planner.members import Members, grouped
from attncc.planner.passes import Alternative, Group, Pass
from attncc.planner.relation import Band, simple_bands
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise
from attncc.targets import Target

#: Keys times batch entries and heads that are looked at; beyond, closed forms of layouts are faster.
MOST_LISTED = 1 << 18


def listed(
    template: Predicate, tables: Tables, shape: Shape, tile: tuple[int, int], target: Target
) -> tuple[Group, ...] | None:
    """Return the groups of a predicate for one query, with one way to run each; None where too many keys are in doubt.

    Args:
        template: The predicate, with placeholders for `tables`.
        tables: The tables that take their places.
        shape: One query, and at least one key.
        tile: (block_m, block_n) of the passes.
        target: What they are priced for.
    """
    by_entry, by_head = B in template.free, H in template.free
    entries, heads = shape.batch if by_entry else 1, shape.heads if by_head else 1
    env = {I: shape.q_offset, NQ: shape.q_len, NK: shape.kv_len, **tables}
    env |= {B: np.arange(entries)[:, None, None], H: np.arange(heads)[:, None]} if by_entry or by_head else {}
    first, last = _hull(template, env, shape.kv_len)
    if (last - first) * entries * heads > MOST_LISTED:
        return None
    holds = evaluate_predicate(template, {**env, J: np.arange(first, last)})
    rows = np.broadcast_to(holds, (entries, heads, max(last - first, 0)))

    def seen(entry: int, head: int) -> tuple[bytes, tuple[int, int]]:
        return np.packbits(rows[entry, head]).tobytes() if len(rows) * heads > 1 else b"", (entry, head)

    found = []
    for members, (entry, head) in grouped(entries, heads, by_entry, by_head, seen):
        keys = np.flatnonzero(rows[entry, head]) + first
        stated = partial(_stated, template, tables, shape, entry, head)
        found.append(_group(members, keys, stated, shape, tile, target))
    return tuple(found)


def _stated(template: Predicate, tables: Tables, shape: Shape, entry: int, head: int) -> Predicate:
    return specialise(put(template, tables), shape, entry, head)


def _group(
    members: Members,
    keys: Array,
    stated: Callable[[], Predicate],
    shape: Shape,
    tile: tuple[int, int],
    target: Target,
) -> Group:
    if not len(keys):
        return Group(*members, (Alternative("empty", (), 0.0),))
    rows, cols, ranges = Axis(1), *_laid_out(keys, shape.kv_len)
    work = Pass(stated, Layout(rows, cols, ranges, None), shape.q_offset, *tile)
    return Group(*members, (Alternative("listed", (work,), cost.listed(len(keys), target)),))


def _laid_out(keys: Array, kv_len: int) -> tuple[Axis, KeyRanges]:
    """Return the axis of keys, and the range of it that the query sees: natural where they are consecutive."""
    first, last = int(keys[0]), int(keys[-1]) + 1
    if last - first == len(keys):
        return Axis(kv_len), constant(1, kv_len, first, last)
    return Axis(kv_len, keys), constant(1, len(keys), 0, len(keys))


def _hull(template: Predicate, env: Environment, kv_len: int) -> tuple[int, int]:
    """Return the first key, and one more than the last, that the bands of some clause leave to the query."""
    clauses = _bands(template)
    if clauses is None:
        return 0, kv_len
    low, high = kv_len, 0
    for bands in clauses:
        start, stop = 0, kv_len
        for band in bands:
            if band.low is not None:
                start = max(start, int(np.min(evaluate(band.low, env))))
            if band.high is not None:
                stop = min(stop, int(np.max(evaluate(band.high, env))) + 1)
        low, high = (low, high) if start >= stop else (min(low, start), max(high, stop))
    return min(low, high), high


@caching.algebra(1024)
def _bands(template: Predicate) -> tuple[tuple[Band, ...], ...] | None:
    """Return the bands of each clause whose key is j itself; None where the predicate isn't taken apart."""
    try:
        return tuple(simple_bands(clause) for clause in disjoint_clauses(template))
    except TooManyClausesError:
        return None
