"""Explanations: groups and their passes as text for people, and as JSON-able data for scripts."""

from __future__ import annotations

from collections.abc import Sequence

from attncc.ir.notation import condition
from attncc.planner.dense import DenseBaseline, verdict
from attncc.planner.passes import Alternative, Group, Pass


def described(groups: Sequence[Group]) -> list[dict[str, object]]:
    """Return groups as JSON-able data."""
    return [_group(group) for group in groups]


def _group(group: Group) -> dict[str, object]:
    return {
        "batches": "all" if group.batches is None else list(group.batches),
        "heads": "all" if group.heads is None else list(group.heads),
        "chosen": group.alternatives[0].name,
        "note": group.alternatives[0].note,
        "passes": [_pass(work) for work in group.passes],
        "alternatives": [_alternative(alternative) for alternative in group.alternatives],
    }


def _pass(work: Pass) -> dict[str, object]:
    found = work.tiles
    return {
        "clause": condition(work.predicate),
        "layout": work.layout.kind,
        "rows": work.rows.size,
        "cols": work.cols.size,
        "full_tiles": found.num_full,
        "partial_tiles": found.num_partial,
        "grid_tiles": found.num_query_tiles * found.num_key_tiles,
        "runs": len(found.start),
        "visited": found.visited,
        "edges": work.nnz,
        "residual": None if work.residual is None else condition(work.residual),
    }


def _alternative(alternative: Alternative) -> dict[str, object]:
    layouts = [work.layout.kind for work in alternative.passes]
    return {"name": alternative.name, "layouts": layouts, "predicted_ms": alternative.seconds * 1e3}


def lines(groups: Sequence[Group]) -> list[str]:
    """Return groups as lines of text: what each will run, and what it was chosen over."""
    found = []
    for group in groups:
        if len(groups) > 1:
            found.append(f"heads {_members(group.heads)}, batch entries {_members(group.batches)}:")
        found += _lines(group)
    return found


def _lines(group: Group) -> list[str]:
    lines = [f"  plan: {group.alternatives[0].name}, {len(group.passes)} pass(es)"]
    if group.alternatives[0].note:
        lines.append(f"  note: {group.alternatives[0].note}")
    for number, work in enumerate(group.passes, start=1):
        found = work.tiles
        lines.append(f"  {number}. {condition(work.predicate)}")
        lines.append(
            f"     layout {work.layout.kind}, {work.rows.size:,} queries x {work.cols.size:,} keys, "
            f"{found.num_full:,} full and {found.num_partial:,} partial of "
            f"{found.num_query_tiles * found.num_key_tiles:,} tiles, {work.nnz:,} edges"
        )
    for other in group.alternatives[1:]:
        layouts = " + ".join(work.layout.kind for work in other.passes)
        factor = other.seconds / group.alternatives[0].seconds if group.alternatives[0].seconds else 1.0
        lines.append(f"  lost: {other.name} ({layouts}), predicted to take {factor:.1f} x as long")
    return lines


def beside(dense: DenseBaseline) -> list[str]:
    """Return lines about dense attention: what it should take, and whether that is as fast."""
    if dense.over is None:
        return []
    which = "causal" if dense.causal else "all pairs"
    said = verdict(dense.over)
    shown = f"  dense attention, {which} and no mask: predicted to take {dense.over:.1f} x as long"
    return [shown, f"  {said}"] if said else [shown]


def _members(numbers: tuple[int, ...] | None) -> str:
    return "all" if numbers is None else ", ".join(map(str, numbers))
