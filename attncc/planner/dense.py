"""Dense attention beside a plan: what a library's one call over all pairs should take, so that it shows what pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attncc.ir.normal import TooManyClausesError, comparison
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.cost import HEAD_DIM, ITEMSIZE
from attncc.planner.passes import Group
from attncc.planner.shape import Shape
from attncc.targets import Target

#: Dense attention over a plan's time, or over a measured one, up to which it is as fast: both are known roughly.
AS_FAST = 1.1


@dataclass(frozen=True)
class DenseBaseline:
    """Attention without a pattern: causal where the pattern is shown to be, else over all pairs.

    Attributes:
        seconds: Predicted for one head of 64, without a mask.
        over: That over the predicted time of the plan, None where nothing is connected.
    """

    causal: bool
    seconds: float
    over: float | None

    def describe(self) -> dict[str, object]:
        """Return it as JSON-able data."""
        return {
            "causal": self.causal,
            "predicted_ms": self.seconds * 1e3,
            "over": self.over,
            "as_fast": is_as_fast(self.over),
        }


def beside(
    predicate: Predicate, shape: Shape, mask_shape: Sequence[int], groups: Sequence[Group], target: Target
) -> DenseBaseline:
    """Return dense attention beside the groups of a plan; `mask_shape` has the heads that the plan tells apart."""
    causal = is_causal(predicate)
    pairs = _causal_pairs(shape) if causal else shape.q_len * shape.kv_len
    seconds = pairs * 4 * HEAD_DIM / target.flops + shape.q_len * HEAD_DIM * ITEMSIZE / target.bandwidth
    heads = math.prod(mask_shape[:-2])
    planned = sum(
        len(group.batches or [0]) * len(group.heads or [0]) * group.alternatives[0].seconds for group in groups
    )
    return DenseBaseline(causal, seconds, seconds * heads / planned if planned else None)


def is_causal(predicate: Predicate) -> bool:
    """Return whether algebra shows that no query sees a later key."""
    try:
        return not disjoint_clauses(predicate & comparison("ge", J - I - 1))
    except TooManyClausesError:
        return False


def is_as_fast(over: float | None) -> bool:
    """Return whether dense attention is as fast, given its time over that of a pattern; None is unknown."""
    return over is not None and over < AS_FAST


def verdict(over: float | None, how: str = "is predicted to take", what: str = "") -> str:
    """Return a sentence where dense attention is as fast, else "".

    Args:
        over: Its time over that of the pattern, and how that is known.
        what: The direction, "" for what is predicted.
    """
    if over is None or not is_as_fast(over):
        return ""
    where = f"{what}: " if what else ""
    return f"{where}dense attention is as fast at this length: it {how} {over:.2f} x the pattern's time"


def _causal_pairs(shape: Shape) -> int:
    """Return the pairs with j <= i."""
    blind = min(max(-shape.q_offset, 0), shape.q_len)  # rows before the first key
    rows, first = shape.q_len - blind, shape.q_offset + blind + 1  # keys of the first of them, and one more each time
    growing = min(max(shape.kv_len - first + 1, 0), rows)
    return growing * first + growing * (growing - 1) // 2 + (rows - growing) * shape.kv_len
