"""The cost model: predicted seconds of a pass on a target, for one head of 64; only ratios matter to a choice."""

from __future__ import annotations

from attncc.planner.plan import Pass
from attncc.targets import Target

HEAD_DIM = 64
ITEMSIZE = 4


def seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of one pass; `merges` adds that its result joins an earlier one.

    It uses the hull of the tiles, an upper bound of what the pass visits, since finding the exact tiles of
    an alternative that then loses would cost more than it tells.
    """
    hull = work.hull
    area = hull.block_m * hull.block_n
    visited, partial = hull.visited, hull.num_partial * area
    rows = work.rows.size
    arithmetic = visited * 4 * HEAD_DIM / target.flops
    masks = arithmetic * (target.masked - 1) * (partial / visited if visited else 0)
    predicate = 0.0 if work.residual is None else visited / target.elements
    moved = rows * HEAD_DIM * ITEMSIZE * (3 if merges else 1)
    if work.layout.kind != "identity":
        moved += (rows + 2 * work.cols.size) * HEAD_DIM * ITEMSIZE
    return arithmetic + masks + predicate + moved / target.bandwidth + target.launch
