"""The cost model: predicted seconds of a pass on a target, for one head of 64; only ratios matter to a choice."""

from __future__ import annotations

from attncc.ir.lists import IsMember
from attncc.ir.predicate import Predicate
from attncc.planner.bisect import bisect
from attncc.planner.blocked import BOX
from attncc.planner.passes import Pass
from attncc.targets import Target

#: The head size, and bytes of an element, that predictions, FLOPs and bytes are stated for.
HEAD_DIM = 64
ITEMSIZE = 4
#: Calls that share the evaluation of a mask which is kept between them; there may be more, and there may be one.
CALLS = 10
#: Comparisons that take as long as a membership.
MEMBERSHIP = 4
#: The smallest blocks of queries and keys that an enumerated pass is given; smaller ones are slower, however they fit.
LEAST_M, LEAST_N = 32, 16


def seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of one pass; `merges` adds that its result joins an earlier one.

    It uses the hull of the tiles, an upper bound of what the pass visits. Finding the exact tiles of an alternative
    that then loses would cost more than it tells.
    """
    hull = work.hull
    partial = hull.num_partial if work.has_known_tiles else hull.num_tiles
    return _seconds(work, hull.num_tiles, partial, target, merges)


def bounded_seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time as `seconds` does, with the tiles that intervals leave, a closer bound."""
    if work.has_known_tiles:
        return seconds(work, target, merges=merges)
    tiles = bisect(work.layout, work.q_offset, work.block_m, work.block_n, looks=False)
    return _seconds(work, tiles.num_tiles, tiles.num_partial, target, merges)


def fitted(work: Pass, target: Target) -> Pass:
    """Return an enumerated pass in its own blocks, or in smaller ones that lists of blocks fill, where that is cheaper.

    The tiles of a blocked one are boxes of queries with single keys, where a library gathers these: none that no query
    of the box sees. Other passes are returned as they are: their tiles cost more to find.
    """
    if work.layout.sides is not None:
        return work if target.library is None else work.tiled(min(work.block_m, BOX), 1)
    best = work
    while best.is_enumerated and best.hull.num_partial:
        sides = (max(min(LEAST_M, best.block_m), best.block_m // 2), max(min(LEAST_N, best.block_n), best.block_n // 2))
        finer = best.tiled(*sides)
        if finer is best or seconds(finer, target, merges=True) >= seconds(best, target, merges=True):
            break
        best = finer
    return best


def exact_seconds(work: Pass, target: Target, *, merges: bool) -> float:
    """Return the predicted time of a pass that runs: as `seconds`, with the tiles that it visits."""
    if not work.skips:
        every = -(-work.rows.size // work.block_m) * -(-work.cols.size // work.block_n)
        return _seconds(work, every, every, target, merges)
    return _seconds(work, work.tiles.num_tiles, work.tiles.num_partial, target, merges)


def listed(keys: int, target: Target) -> float:
    """Return the predicted time of one query on so many keys that were listed."""
    arithmetic = keys * 4 * HEAD_DIM / target.flops
    return arithmetic + (2 * keys + 2) * HEAD_DIM * ITEMSIZE / target.bandwidth + target.launch


def _weight(residual: Predicate) -> int:
    """Return how many times as long as a comparison a residual takes for a pair: a membership looks up at random."""
    return 1 + MEMBERSHIP * sum(bool(atom.expr.has(IsMember)) for atom in residual.atoms)


def _seconds(work: Pass, tiles: int, partial: int, target: Target, merges: bool) -> float:
    visited, share = tiles * work.block_m * work.block_n, partial / tiles if tiles else 0.0
    rows = work.rows.size
    arithmetic = visited * 4 * HEAD_DIM / target.flops
    masks = arithmetic * (target.masked - 1) * share
    predicate = 0.0 if work.residual is None else visited * share * _weight(work.residual) / target.elements
    if visited <= target.kept:
        predicate /= CALLS
    keys = visited / work.block_m * 2 * HEAD_DIM * ITEMSIZE * target.reread
    moved: float = rows * HEAD_DIM * ITEMSIZE * (3 if merges else 1)
    if work.layout.kind != "identity":
        gathered: float = visited / work.block_m if work.block_n == 1 else work.cols.size
        moved += (rows + 2 * gathered) * HEAD_DIM * ITEMSIZE
    return arithmetic + masks + predicate + keys + moved / target.bandwidth + target.launch
