"""`attncc tune`: the best plan and configuration for a target, found once and remembered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import kernels, output
from attncc.cli.options import AsJson, Parameters, PatternName, SeqLen, pattern_from
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.tune.autotune import Request
    from attncc.tune.result import Result, Results

#: Candidates that a dry run lists.
LISTED = 10


def tune(
    pattern: PatternName,
    param: Parameters = None,
    seq_len: SeqLen = 16384,
    kv_len: Annotated[int | None, typer.Option(help="Number of keys, if it isn't that of the queries.")] = None,
    q_offset: Annotated[int, typer.Option(help="Position of the first query.")] = 0,
    heads: Annotated[int, typer.Option(help="Query heads.")] = 8,
    kv_heads: kernels.KvHeads = None,
    head_dim: kernels.HeadDim = 64,
    value_dim: kernels.ValueDim = None,
    batch: kernels.Batch = 1,
    dtype: Annotated[str | None, typer.Option(help="fp32, bf16, fp16 or fp64. [default: fp32, on a GPU bf16]")] = None,
    target: Annotated[str, typer.Option(help="auto for the device at hand, or a name from `attncc targets`.")] = "auto",
    direction: Annotated[str, typer.Option(help="fwd, bwd or both.")] = "both",
    effort: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="Time in all, such as 300s or 5m.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of each direction.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compile; a device measures one at a time.")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the search and of the inputs.")] = 0,
    mode: Annotated[str | None, typer.Option(help="measured or modelled. [default: measured if it is here]")] = None,
    backend: Annotated[str | None, typer.Option(help="The backend to tune. [default: torch, on a GPU triton]")] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file that adds to the search space.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="A database that several hosts share the trials in.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Tune again what was tuned before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the space and the ranking; run nothing.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result to a file for `attncc cache import`.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with plots of the search.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the best plan and configuration of a pattern; `attncc.attention` uses it from then on.

    Example: attncc tune strided -p l=128 --seq-len 16384
    """
    chosen = pattern_from(pattern, param)
    from attncc.tune.autotune import Request

    request = Request(
        chosen,
        seq_len,
        kv_len,
        q_offset,
        heads,
        kv_heads,
        head_dim,
        value_dim,
        batch,
        dtype,
        target,
        direction,
        backend,
        mode,
        effort,
        None if budget is None else _seconds(budget),
        trials,
        workers,
        seed,
        space,
        storage,
        force,
    )
    if dry_run:
        _show_space(request, as_json)
        return
    found = _tuned(request)
    if export is not None:
        from attncc.configs import bundle

        bundle.save([result.entry for result in found.each], export)
    if report is not None:
        from attncc.tune.report import write

        write(found, report)
    if as_json:
        output.show_json(found.describe())
    else:
        output.show(*_summary(found))


def _tuned(request: Request) -> Results:
    from attncc.cli.tuning_view import view

    try:
        with view() as on_progress:
            return request.answered(on_progress)
    except KeyboardInterrupt:
        output.note("stopped; the same command goes on where it was")
        raise typer.Exit(130) from None


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if found is None:
        raise ConfigError(f"--budget {text!r}.", rule="It is a time.", fix="For example 90s, 5m or 1h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]


def _show_space(request: Request, as_json: bool) -> None:
    """Print each direction's space: its size, what each constraint removes, and the best by prediction."""
    from attncc.tune.result import SHORT
    from attncc.tune.tuning import field_of

    described = {SHORT[job.direction]: field_of(job, request.options).describe(LISTED) for job in request.jobs}
    if as_json:
        output.show_json(described)
        return
    for direction, field in described.items():
        output.show(*_space(direction, field), "")


def _space(direction: str, field: dict[str, object]) -> list[RenderableType]:
    sizes = f"{direction}: {field['size']:,} configurations, {field['feasible']:,} of them feasible"
    values = output.facts(sizes, {name: ", ".join(map(str, each)) for name, each in field["parameters"].items()})  # type: ignore[attr-defined]
    removed = output.table("", "constraint", "removes", "why", numbers=("removes",))
    for each in field["constraints"]:  # type: ignore[attr-defined]
        removed.add_row(each["rule"], f"{each['removes']:,}", each["why"])
    ranking = output.table("", "rank", "predicted", "configuration", numbers=("rank", "predicted"))
    for rank, each in enumerate(field["ranking"], start=1):  # type: ignore[arg-type]
        ranking.add_row(str(rank), output.seconds(each["predicted_s"]), _configuration(each["config"]))
    return [values, "", removed, "", ranking]


def _configuration(config: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.items()) or "the default one"


def _summary(found: Results) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for result in found.each:
        parts += [_direction(result), *result.notes, ""]
    over = {other: found.over(other) for other in ("default", "dense")}
    said = [f"{value:.2f} x over {other}" for other, value in over.items() if value]
    return [*parts, f"speed-up: {', '.join(said)}" if said else "no speed-up is known"]


def _direction(result: Result) -> RenderableType:
    entry = result.entry
    rows = {
        "source": f"{result.source}, {entry.mode}, {result.trials_run} trials in this run",
        "configuration": _configuration(dict(entry.config)),
        "plan": result.plan,
    }
    for name, seconds in entry.seconds.items():
        samples = entry.samples.get(name, ())
        spread = (max(samples) - min(samples)) / 2 / seconds if len(samples) > 1 else 0
        rows[name] = output.seconds(seconds) + (f" ± {spread:.0%}, {len(samples)} samples" if spread else "")
    if entry.expected_error:
        rows["model"] = f"off by {entry.expected_error:.0%} at most, as a rule; the first measurement replaces it"
    for reason, count in result.reasons.items():
        rows[f"failed {count} x"] = reason
    return output.facts(f"{result.job.pattern!r}, {result.job.direction}, {result.job.target}", rows)
