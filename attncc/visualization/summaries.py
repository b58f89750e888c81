"""What notebooks show of patterns, scores, plans and schedules: a table and thumbnails, made in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attncc._util.units import seconds
from attncc.distributed.schedules.schedule import Schedule
from attncc.errors import AttnccError
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.ir.notation import connectivity
from attncc.ir.symbols import H
from attncc.planner.passes import Alternative
from attncc.planner.plan import Plan
from attncc.planner.tiles import EMPTY, FULL, PARTIAL
from attncc.visualization import markup
from attncc.visualization.coarse import CoarseTiles
from attncc.visualization.connectivity import grid
from attncc.visualization.lengths import shown_shape

#: Cells along the side of a thumbnail.
CELLS = 64
#: Passes of a plan that have a thumbnail, and ranks of a schedule that have a line.
PASSES, RANKS = 4, 16
#: Characters of a set or a clause.
WIDEST = 300


def of_pattern(pattern: Pattern) -> str:
    """Return the sets of a pattern, and their picture at a length that shows them."""
    sets = {f"set {m}": _cut(connectivity(each, m)) for m, each in enumerate(pattern.subsets, start=1)}
    try:
        shape = shown_shape(pattern)
        cells = grid(pattern, shape, CELLS).union
    except AttnccError:  # of a pattern that is for other numbers of queries than of keys
        return markup.facts(repr(pattern), sets)
    of_head = " of head 0" if H in pattern.free else ""
    caption = f"{shape.q_len:,} queries (down), {shape.kv_len:,} keys (right){of_head}"
    return markup.beside(markup.picture(cells, caption), markup.facts(repr(pattern), sets))


def of_score(score: Score) -> str:
    """Return the expression of a score, and the shapes of its weights."""
    weights = {f"weights {name}": f"{tuple(x.shape)}" for name, x in score.weights.items()}
    unbound = {f"weights {name}": "not bound yet" for name in score.template.names if name not in weights}
    said = {"score": _cut(str(score.expression))} if score.is_bound else {}
    return markup.facts(repr(score), {**said, **unbound, **weights})


def of_plan(plan: Plan) -> str:
    """Return the figures of a plan that cost nothing to know, its alternatives, and the tiles of its passes."""
    shape = plan.shape
    rows = {"queries x keys": f"{shape.q_len:,} x {shape.kv_len:,}", "tiles": f"{plan.block_m} x {plan.block_n}"}
    if plan.cheap_nnz is not None:
        rows["edges"] = f"{plan.cheap_nnz:,} (density {plan.density:.3%})"
    rows["target"] = plan.target
    several = len(plan.groups) > 1
    for number, group in enumerate(plan.groups[:PASSES], start=1):
        rows[f"plan of heads {number}" if several else "plan"] = "; ".join(map(_priced, group.alternatives))
    if not several and plan.dense.over is not None:
        rows["dense attention"] = f"{plan.dense.over:.1f} x the plan's predicted time"
    return markup.beside(markup.facts(repr(plan.pattern), rows), *_thumbnails(plan))


def of_schedule(schedule: Schedule) -> str:
    """Return the figures of a schedule, and which rank owns which part of the sequence."""
    partition = schedule.partition
    chunking = partition.chunking
    rows = {
        "tokens": f"{chunking.length:,} in units of {chunking.size:,}",
        "ranks": f"{partition.ranks:,}, {partition.counts.min():,} to {partition.counts.max():,} tokens each",
        "partition": partition.name,
        "rounds": f"{schedule.rounds}, and one that returns results" if schedule.returns else f"{schedule.rounds}",
    }
    bins = np.arange(chunking.count) * min(CELLS, chunking.count) // max(chunking.count, 1)
    ranks = min(partition.ranks, RANKS)
    owned = np.zeros((ranks, int(bins[-1]) + 1 if len(bins) else 1), np.int64)
    np.add.at(owned, (partition.owner * ranks // partition.ranks, bins), 1)
    cells = np.where(owned == 0, EMPTY, np.where(owned == owned.sum(axis=0), FULL, PARTIAL)).astype(np.int8)
    who = "ranks" if ranks == partition.ranks else "groups of ranks"
    return markup.beside(
        markup.facts("schedule", rows), markup.picture(cells, f"units (right) that {who} (down) own", 2 * markup.SIDE)
    )


def _thumbnails(plan: Plan) -> Iterator[str]:
    """Yield the tiles of the first passes, in their layouts: those that key ranges say, without a look at pairs."""
    for number, work in enumerate(plan.all_passes()[:PASSES], start=1):
        tiles = work.hull
        caption = (
            f"pass {number}, {work.layout.kind}: {tiles.num_full:,} full and {tiles.num_partial:,} partial of "
            f"{tiles.num_query_tiles * tiles.num_key_tiles:,} tiles"
        )
        yield markup.picture(CoarseTiles.of(tiles, CELLS).cells, caption)


def _priced(way: Alternative) -> str:
    layouts = " + ".join(work.layout.kind for work in way.passes)
    return f"{way.name} ({layouts or 'nothing to do'}): {seconds(way.seconds)}"


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[:WIDEST]} …"
