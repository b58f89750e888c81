"""`attncc plan`: what will run for a pattern and a length, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncc.cli import options, output
from attncc.cli.progress import progress

if TYPE_CHECKING:
    from rich.console import RenderableType

Tile = Annotated[tuple[int, int], typer.Option(help="Queries and keys of a tile, powers of two.")]


def plan(
    pattern: options.PatternName,
    param: options.Parameters = None,
    seq_len: options.SeqLen = 16384,
    kv_len: options.KvLen = None,
    q_offset: options.QOffset = 0,
    heads: options.Heads = 1,
    batch: options.Batch = 1,
    tile: Tile = (128, 128),
    target: options.GpuName = "cpu",
    as_json: options.AsJson = False,
) -> None:
    """Print the plan: passes, layouts, tiles, exact counts, and the alternatives that were slower.

    Example: attncc plan strided -p l=1024 --seq-len 1048576
    """
    from time import perf_counter as clock

    from attncc.planner.dense import verdict
    from attncc.planner.search import plan as make_plan

    begin = clock()
    with progress() as on_step:
        on_step("building the pattern")
        chosen = options.pattern_from(pattern, param)
        _ = chosen.key  # its normal form belongs to building it
        built = clock()
        on_step("planning")
        made = make_plan(chosen, seq_len, kv_len, q_offset=q_offset, heads=heads, batch=batch, tile=tile, target=target)
        planned = clock()
        on_step("counting the edges")
        _ = made.nnz, [work.nnz for work in made.all_passes()]  # kept for what is printed
    times = {"build_seconds": built - begin, "plan_seconds": planned - built, "count_seconds": clock() - planned}
    described: dict[str, Any] = made.describe()
    if as_json:
        output.show_json({**described, **times})
        return
    noted = [f"note: {note}" for note in described["notes"]]
    said = verdict(made.dense.over)
    output.show(
        _summary(described, times),
        *noted,
        *([said] if said else []),
        *(part for group in _groups(described) for part in ("", *group)),
    )


def _summary(plan: dict[str, Any], times: dict[str, float]) -> RenderableType:
    start = f" from {plan['q_offset']:,}" if plan["q_offset"] else ""
    work, traffic = output.quantity(plan["flops"], "FLOP"), output.quantity(plan["bytes"], "B")
    rows = {
        "queries x keys": f"{plan['q_len']:,} x {plan['kv_len']:,}{start}",
        "edges": f"{plan['edges']:,} (density {plan['density']:.3%})",
        f"forward, D = {plan['head_dim']}": f"{work}, {traffic}",
        "tiles": f"{plan['tile'][0]} x {plan['tile'][1]}",
        "predicted for": plan["target"],
        "dense attention": _dense(plan["dense"]),
        "pattern built in": output.seconds(times["build_seconds"]),
        "planned in": output.seconds(times["plan_seconds"]),
        "edges counted in": output.seconds(times["count_seconds"]),
    }
    return output.facts(plan["pattern"], rows)


def _dense(dense: dict[str, Any]) -> str:
    which = "causal" if dense["causal"] else "all pairs"
    over = "" if dense["over"] is None else f", {dense['over']:.1f} x the plan's"
    return f"{output.seconds(dense['predicted_ms'] / 1e3)} per head ({which}, no mask){over}"


def _groups(plan: dict[str, Any]) -> list[list[RenderableType]]:
    several = len(plan["groups"]) > 1
    return [_group(group, several) for group in plan["groups"]]


def _group(group: dict[str, Any], several: bool) -> list[RenderableType]:
    where = f" for heads {group['heads']}, batch entries {group['batches']}" if several else ""
    passes = output.table(
        f"plan: {group['chosen']}{where}",
        "pass", "layout", "queries", "keys", "full", "partial", "of tiles", "edges",
        numbers=("queries", "keys", "full", "partial", "of tiles", "edges"),
    )  # fmt: skip
    for number, work in enumerate(group["passes"], start=1):
        counts = ("rows", "cols", "full_tiles", "partial_tiles", "grid_tiles", "edges")
        passes.add_row(str(number), work["layout"], *(f"{work[name]:,}" for name in counts))
    clauses = [f"  {number}. {work['clause']}" for number, work in enumerate(group["passes"], start=1)]
    ways = output.table("alternatives", "plan", "layouts", "predicted, per head", numbers=("predicted, per head",))
    for way in group["alternatives"]:
        chosen = " (chosen)" if way is group["alternatives"][0] else ""
        ways.add_row(way["name"] + chosen, " + ".join(way["layouts"]), output.seconds(way["predicted_ms"] / 1e3))
    note = [f"  {group['note']}"] if group["note"] else []
    return [passes, *clauses, *note, "", ways]
