"""`attncc bench`: a pattern compared with dense attention on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncc._util.machine import machine, versions
from attncc.cli import options, output
from attncc.cli.progress import progress
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.measure.comparison import Comparison
    from attncc.measure.sweep import Sweep

PHASES = ("forward", "backward", "forward + backward")


def bench(
    pattern: options.PatternName,
    param: options.Parameters = None,
    seq_len: options.SeqLen = 16384,
    heads: options.Heads = 8,
    kv_heads: options.KvHeads = None,
    head_dim: options.HeadDim = 64,
    batch: options.Batch = 1,
    dtype: options.Dtype = "fp32",
    device: Annotated[str, typer.Option(help="The device, by its name in torch: cpu, cuda, cuda:1.")] = "cpu",
    backend: options.BackendName = None,
    dense: Annotated[bool, typer.Option(help="Run dense attention, too; its time grows with N squared.")] = True,
    sweep: Annotated[bool, typer.Option("--sweep", help="Time against N: --seq-len, its half and so on.")] = False,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Of a sweep: save the picture of it.")] = None,
    limit: Annotated[
        float | None,
        typer.Option(min=0.0, help="Of a sweep: seconds of attncc, or of dense attention, at a length. [default: 30]"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed calls of attncc and of dense attention, in turn.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the random inputs.")] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Run a pattern and dense attention, forward and backward: time, speed-up, memory, error.

    With --sweep: their times at several lengths. What would take longer than --limit is skipped.

    Example: attncc bench strided --seq-len 16384 --sweep --png strided.png
    """
    from attncc._util.storage import check_file

    check_file(png, "--png")
    for name, given in {"--png": png, "--limit": limit}.items():
        if given is not None and not sweep:
            raise ConfigError(f"{name} {given} without --sweep.", rule="It is of time against N.", fix="Add --sweep.")
    with progress() as on_step:
        on_step("loading")
        chosen = options.pattern_from(pattern, param)
        from attncc.measure import comparison
        from attncc.measure.workload import Workload

        workload = Workload(seq_len, batch, heads, kv_heads or heads, head_dim, dtype, device, seed)
        if sweep:
            from attncc.measure.sweep import LIMIT
            from attncc.measure.sweep import sweep as measure

            most = LIMIT if limit is None else limit
            swept = measure(chosen, workload, backend=backend, dense=dense, rounds=rounds, limit=most, on_step=on_step)
            _deliver(swept, png, as_json)
            return
        on_step.expect(comparison.steps(dense=dense, rounds=rounds))
        compared = comparison.compare(chosen, workload, backend=backend, dense=dense, rounds=rounds, on_step=on_step)
    if as_json:
        output.show_json(compared.describe())
    else:
        output.show(*_report(compared))


def _deliver(swept: Sweep, png: Path | None, as_json: bool) -> None:
    from attncc.cli.sweep_view import rendered

    if png is not None:
        from attncc.visualization import sweep_png

        sweep_png.save(swept, png)
    if as_json:
        output.show_json({**swept.describe(), "png": png and str(png)})
    else:
        output.show(*rendered(swept), *([] if png is None else ["", f"saved {png}"]))


def _report(compared: Comparison) -> list[RenderableType]:
    work = compared.workload
    sizes = f"B={work.batch} H={work.heads} N={work.seq_len:,} D={work.head_dim} {work.dtype} on {work.device}"
    here = machine()
    about = {
        "workload": sizes + (f", {work.kv_heads} key heads" if work.grouped else ""),
        "machine": f"{here['processor']}, {here['cores']} cores, torch {versions(['torch'])['torch']}",
        "edges": f"{compared.plan.nnz:,} (density {compared.plan.density:.3%})",
        "planned in": output.seconds(compared.plan_seconds),
        "plan": ", ".join(dict.fromkeys(group.alternatives[0].name for group in compared.plan.groups)),
    }
    from attncc.planner.dense import verdict

    said = [line for phase in PHASES[:2] if (line := verdict(compared.speedup(phase), "took", phase))]
    errors = {name: f"{error:.1e}" for name, error in compared.errors.items()}
    off = output.facts("largest error against float64, on sampled queries", errors)
    return [output.facts(repr(compared.plan.pattern), about), "", _timings(compared), *said, "", off]


def _timings(compared: Comparison) -> RenderableType:
    names = {"attncc": "attncc", "dense": f"dense, {compared.baseline}"}
    columns = [names[who] for who in compared.timings] + ["speed-up"] * ("dense" in compared.timings)
    made = output.table("", "", *columns, numbers=tuple(columns))
    for phase in PHASES:
        timings = [phases[phase] for phases in compared.timings.values()]
        times = [f"{output.seconds(timing.median)} ± {timing.spread:.0%}" for timing in timings]
        speedup = compared.speedup(phase)
        made.add_row(phase, *times, *([] if speedup is None else [f"{speedup:.1f} x"]))
    made.add_row("peak memory", *(output.quantity(compared.memory[who], "B") for who in compared.timings))
    return made
