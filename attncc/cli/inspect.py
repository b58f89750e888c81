"""`attncc inspect`: any stage on the way from a pattern to machine code."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from attncc.cli import kernels, options, output
from attncc.errors import ConfigError, check_known, nearest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.backends.triton.inspect import Inspection
    from attncc.backends.triton.lowered_plan import LoweredPlan

KernelName = Annotated[str, typer.Option(help="forward, query_gradient, key_gradient, delta, merge or add.")]
STAGES = ("clauses", "plan", "triton", "ttir", "ttgir", "llir", "ptx", "sass", "amdgcn", "resources", "mix")


def inspect(
    pattern: options.PatternName,
    stage: Annotated[str, typer.Option(help=f"One of {', '.join(STAGES)}.")] = "triton",
    target: options.GpuName = "h100",
    kernel: KernelName = "forward",
    param: options.Parameters = None,
    score: options.ScoreName = None,
    score_param: options.ScoreParameters = None,
    seq_len: options.SeqLen = 16384,
    dtype: options.KernelDtype = "bf16",
    head_dim: options.HeadDim = 64,
    value_dim: options.ValueDim = None,
    heads: options.Heads = 1,
    kv_heads: options.KvHeads = None,
    batch: options.Batch = 1,
    config: options.Changes = None,
    as_json: options.AsJson = False,
) -> None:
    """Print one stage of a pattern's kernels; the GPU need not be in this machine.

    Example: attncc inspect strided -p l=128 --stage mix --target sm_90
    """
    from attncc.backends.inputs import Inputs

    check_known("stage", stage, STAGES)
    inputs = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    chosen, scored = options.pattern_from(pattern, param), options.score_from(score, score_param, heads)
    lowered = kernels.lowered(chosen, scored, seq_len, inputs, target, config)
    if stage in ("clauses", "plan"):
        _show_plan(lowered.plan, stage, as_json)
        return
    described = [_described(each, stage) for each in _inspections(lowered, dtype, target, kernel)]
    if as_json:
        output.show_json(
            {"pattern": repr(lowered.plan.pattern), "target": target, "stage": stage, "kernels": described}
        )
        return
    for each in described:
        output.show(*_rendered(each, stage))


def _inspections(lowered: LoweredPlan, dtype: str, target: str, kernel: str) -> list[Inspection]:
    """Return the variants of a kernel in a lowered plan; raises ConfigError if there is none."""
    from attncc.backends.triton.aot import variants
    from attncc.backends.triton.inspect import Inspection
    from attncc.targets import gpu

    listed = variants(lowered, dtype, backward=kernel not in ("forward", "merge"))
    inspections = [Inspection(each, dtype, gpu(target)) for each in listed if each.spec.kernel == kernel]
    if not inspections:
        known = sorted({each.spec.kernel for each in listed})
        raise ConfigError(
            f"The plan has no kernel {kernel!r}.", rule=f"It has {', '.join(known)}.", fix=nearest(kernel, known)
        )
    return inspections


def _show_plan(plan: Any, stage: str, as_json: bool) -> None:
    described = plan.describe()
    if stage == "clauses":
        described = [
            {"clause": work["clause"], "layout": work["layout"], "edges": work["edges"]}
            for group in described["groups"]
            for work in group["passes"]
        ]
    if as_json:
        output.show_json({stage: described})
    elif stage == "plan":
        output.show(plan.explain())
    else:
        listing = output.table("", "pass", "clause", "layout", "edges", numbers=("edges",))
        for number, work in enumerate(described, start=1):
            listing.add_row(str(number), Text(work["clause"]), work["layout"], f"{work['edges']:,}")
        output.show(listing)


def _described(inspection: Inspection, stage: str) -> dict[str, Any]:
    """Return one kernel's stage as JSON-able data."""
    if stage == "resources":
        return {"kernel": inspection.title, "resources": inspection.resources()}
    if stage == "mix":
        predicted = {loop: asdict(each) for loop, each in inspection.throughput().items()}
        return {"kernel": inspection.title, "mix": inspection.mix(), "throughput": predicted}
    return {"kernel": inspection.title, "text": inspection.text(stage)}


def _rendered(described: dict[str, Any], stage: str) -> list[RenderableType]:
    title = described["kernel"]
    if stage == "resources":
        return [output.facts(title, {name: str(value) for name, value in described["resources"].items()}), ""]
    if stage == "mix":
        return [*_mix(title, described["mix"], described["throughput"]), ""]
    mark = "# " if stage == "triton" else "// "
    return [Text(f"{mark}{title}", style="bold"), Text(described["text"])]


def _mix(title: str, mix: dict[str, Any], predicted: dict[str, Any]) -> list[RenderableType]:
    if not mix:
        return [Text(title, style="bold"), "Its loops were unrolled: there is none to count."]
    listing = output.table(title, "instructions", *mix, numbers=tuple(mix))
    for kind in {kind: None for counts in mix.values() for kind in counts if kind != "all"} | {"all": None}:
        listing.add_row(kind, *(f"{counts.get(kind, 0):,}" for counts in mix.values()))
    lines: list[RenderableType] = [listing, ""]
    for loop, each in predicted.items():
        lines.append(f"{loop}: {output.quantity(each['flops'], 'FLOP/s')} predicted, bound by {each['bound']}")
        lines.append(f"  {each['cycles']:.0f} clocks for a tile, {each['blocks']} blocks on a multiprocessor")
        busy = (f"{part} {clocks:.0f}" for part, clocks in each["demand"].items() if clocks)
        lines.append(f"  busy: {', '.join(busy)}")
    if predicted:
        lines += ["the prediction leaves out:", *(f"  {each}" for each in next(iter(predicted.values()))["leaves_out"])]
    return lines
