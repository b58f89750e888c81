"""The cost model: predicted seconds of a pass on a target, for one head of 64; only ratios matter to a choice."""

from __future__ import annotations

from attncc.planner.passes import Pass
from attncc.planner.tiles import Tiles
from attncc.targets import Target

#: The head size, and bytes of an element, that predictions, FLOPs and bytes are stated for.
HEAD_DIM = 64
ITEMSIZE = 4
#: Calls that share the evaluation of a mask which is kept between them; there may be more, and there may be one.
CALLS = 10


def seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of one pass; `merges` adds that its result joins an earlier one.

    It uses the hull of the tiles, an upper bound of what the pass visits, since finding the exact tiles of
    an alternative that then loses would cost more than it tells.
    """
    hull = work.hull
    return _seconds(work, hull, hull.num_partial if work.residual is None else hull.num_tiles, target, merges)


def exact_seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of a pass that runs: as `seconds`, with the tiles that it visits."""
    return _seconds(work, work.tiles, work.tiles.num_partial, target, merges)


def listed(keys: int, target: Target) -> float:
    """Return the predicted time of one query on so many keys that were listed."""
    arithmetic = keys * 4 * HEAD_DIM / target.flops
    return arithmetic + (2 * keys + 2) * HEAD_DIM * ITEMSIZE / target.bandwidth + target.launch


def _seconds(work: Pass, tiles: Tiles, partial: int, target: Target, merges: bool) -> float:
    visited, share = tiles.visited, partial / tiles.num_tiles if tiles.num_tiles else 0.0
    rows = work.rows.size
    arithmetic = visited * 4 * HEAD_DIM / target.flops
    masks = arithmetic * (target.masked - 1) * share
    predicate = 0.0 if work.residual is None else visited / target.elements
    if visited <= target.kept:
        predicate /= CALLS
    keys = visited / tiles.block_m * 2 * HEAD_DIM * ITEMSIZE * target.reread
    moved = rows * HEAD_DIM * ITEMSIZE * (3 if merges else 1)
    if work.layout.kind != "identity":
        moved += (rows + 2 * work.cols.size) * HEAD_DIM * ITEMSIZE
    return arithmetic + masks + predicate + keys + moved / target.bandwidth + target.launch
