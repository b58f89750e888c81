"""The cost model: predicted seconds of a pass on a target, for one head of 64; only ratios matter to a choice."""

from __future__ import annotations

from attncc.planner.passes import Pass
from attncc.planner.tiles import Tiles
from attncc.targets import Target

#: The head size, and bytes of an element, that predictions, FLOPs and bytes are stated for.
HEAD_DIM = 64
ITEMSIZE = 4


def seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of one pass; `merges` adds that its result joins an earlier one.

    It uses the hull of the tiles, an upper bound of what the pass visits, since finding the exact tiles of
    an alternative that then loses would cost more than it tells.
    """
    return _seconds(work, work.hull, target, merges)


def exact_seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of a pass that runs: as `seconds`, with the tiles that it visits."""
    return _seconds(work, work.tiles, target, merges)


def _seconds(work: Pass, tiles: Tiles, target: Target, merges: bool) -> float:
    area = tiles.block_m * tiles.block_n
    visited, partial = tiles.visited, tiles.num_partial * area
    rows = work.rows.size
    arithmetic = visited * 4 * HEAD_DIM / target.flops
    masks = arithmetic * (target.masked - 1) * (partial / visited if visited else 0)
    predicate = 0.0 if work.residual is None else visited / target.elements
    moved = rows * HEAD_DIM * ITEMSIZE * (3 if merges else 1)
    if work.layout.kind != "identity":
        moved += (rows + 2 * work.cols.size) * HEAD_DIM * ITEMSIZE
    return arithmetic + masks + predicate + moved / target.bandwidth + target.launch
