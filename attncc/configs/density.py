"""How dense a pattern with tables is: from a sample of pairs, the same in every process."""

from __future__ import annotations

import math

import numpy as np

from attncc._util import caching
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import Tables
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.checks import check
from attncc.planner.shape import Shape

PAIRS = 1 << 16
#: Pairs of a rough estimate.
FEW = 1 << 10


@caching.algebra(64)
def density(predicate: Predicate, shape: Shape) -> int | None:
    """Return log2 of the share of connected pairs, rounded, at least -16; None without tables, or without pairs.

    Raises TableError where a table doesn't fit the shape.
    """
    if not predicate.tables or not shape.q_len or not shape.kv_len:
        return None
    check(predicate, shape)
    return _sampled(predicate, {}, shape, PAIRS)


def rough_density(pattern: Pattern, shape: Shape) -> int | None:
    """Return about what `density` does, in microseconds; None for a single query, whose keys are listed anyway."""
    if shape.q_len < 2 or not shape.kv_len or not pattern.looked_up:
        return None
    return _sampled(pattern.template.predicate, pattern.bound, shape, FEW)


def _sampled(predicate: Predicate, tables: Tables, shape: Shape, pairs: int) -> int:
    draw = np.random.default_rng(0)
    ranges = {
        I: (shape.q_offset, shape.q_offset + shape.q_len),
        J: (0, shape.kv_len),
        H: (0, shape.heads),
        B: (0, shape.batch),
    }
    drawn = {symbol: draw.integers(low, high, pairs) for symbol, (low, high) in ranges.items()}
    holds = evaluate_predicate(predicate, {**drawn, **tables, NQ: shape.q_len, NK: shape.kv_len})
    return round(math.log2(max(float(np.mean(holds)), 1 / pairs)))
