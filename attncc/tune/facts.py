"""Facts that constraints may name: sizes of the inputs, what the plan's ways look like, limits of the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from attncc.backends.choices import Value
from attncc.backends.head_chunks import padded
from attncc.backends.inputs import Inputs
from attncc.planner.options import WAYS
from attncc.planner.passes import Group, Pass
from attncc.planner.plan import Plan
from attncc.planner.segments import segments
from attncc.targets import Gpu, Target

#: A segment of fewer rows than this isn't a run.
SHORTEST_RUN = 2
#: The cost model's times are rough: it may be wrong by this factor.
NEAR = 4
_SIZES = ("q_len", "kv_len", "batch", "heads", "kv_heads", "group", "head_dim", "value_dim", "itemsize")
_PADDED = ("padded_head", "padded_value")
_PLAN = (
    "ways",
    "near_ways",
    "exact_ways",
    "residual_ways",
    "residual",
    "shortest_run",
    "longest_run",
    "loose_rows",
    "widest_row",
)
#: Facts of a device; those of a GPU are there only for a GPU.
TARGET_NAMES = tuple(
    dict.fromkeys(
        f"target.{field.name}"
        for kind in (Target, Gpu)
        for field in fields(kind)
        if field.type in ("str", "int", "float")
    )
)
#: All facts that a rule about a backend may name.
NAMES = (*_SIZES, *_PADDED, *_PLAN, *TARGET_NAMES)


def facts(plan: Plan, inputs: Inputs, target: Target) -> dict[str, object]:
    """Return the facts of a plan in the backend's own tiles, by name.

    ways: `cheapest`, and names of alternatives that would change what runs for some heads.
    near_ways: those of `ways` whose predicted time is at most NEAR times the cheapest's.
    exact_ways, residual_ways: those under which some pass needs no predicate, or evaluates one in the plan's tiles.
    residual: whether there are residual_ways, so that tiles of the plan matter.
    shortest_run, longest_run: rows of mask-free runs (0: there is none); loose_rows: rows in none; widest_row: most
    keys of a row; all of exact passes. padded_head, padded_value: head sizes as kernels have them.
    """
    ways = [WAYS[0], *(way for way in WAYS[1:] if any(_changes(group, way) for group in plan.groups))]
    passes = {way: plan.preferring(way).all_passes() for way in ways}
    exact = _distinct(work for each in passes.values() for work in each if work.residual is None)
    residual = tuple(way for way in ways if any(work.residual is not None and work.skips for work in passes[way]))
    return {
        "q_len": plan.shape.q_len,
        "kv_len": plan.shape.kv_len,
        **{name: getattr(inputs, name) for name in _SIZES[2:]},
        "padded_head": padded(inputs.head_dim),
        "padded_value": padded(inputs.value_dim),
        "ways": tuple(ways),
        "near_ways": tuple(way for way in ways if _seconds(plan, way) <= NEAR * _seconds(plan, WAYS[0])),
        "exact_ways": tuple(way for way in ways if any(work.residual is None for work in passes[way])),
        "residual_ways": residual,
        "residual": bool(residual),
        **_of_rows(exact),
        **_of(target),
    }


def _of_rows(exact: Sequence[Pass]) -> Mapping[str, int]:
    """Return what the rows of exact passes look like."""
    bounds = [work.key_ranges.bounds() for work in exact]
    parted = [segments(*each, SHORTEST_RUN) for each in bounds]
    runs = [int(rows) for each, _ in parted for rows in each.rows]
    return {
        "shortest_run": min(runs, default=0),
        "longest_run": max(runs, default=0),
        "loose_rows": sum(len(rows) for _, rows in parted),
        "widest_row": max((int((stop - start).max(initial=0)) for start, stop in bounds), default=0),
    }


def _changes(group: Group, way: str) -> bool:
    """Return whether preferring a way changes what runs: the group has it, and not as its cheapest."""
    return way in [other.name for other in group.alternatives[1:]] and way != group.alternatives[0].name


def _seconds(plan: Plan, way: str) -> float:
    """Return the predicted time of a way, over all heads and batch entries that the plan tells apart."""
    return sum(plan.members(group) * group.alternatives[0].seconds for group in plan.preferring(way).groups)


def _distinct(passes: Iterable[Pass]) -> list[Pass]:
    """Return each pass once: several ways may share it, and several groups don't."""
    return list({id(work): work for work in passes}.values())


def _of(target: Target) -> Mapping[str, Value | float]:
    values = {}
    for name in TARGET_NAMES:
        owners = [owner for owner in (target, target.gpu) if hasattr(owner, name.partition(".")[2])]
        if owners:
            values[name] = getattr(owners[0], name.partition(".")[2])
    return values
