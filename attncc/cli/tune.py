"""`attncc tune`: the best plan and configuration for a target, found once and remembered."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncc.cli import options, output
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from attncc.patterns import Pattern
    from attncc.tune.request import Asked
    from attncc.tune.result import Results

#: Candidates that a dry run lists.
LISTED = 10


def tune(
    pattern: options.PatternName,
    param: options.Parameters = None,
    score: options.ScoreName = None,
    score_param: options.ScoreParameters = None,
    seq_len: options.SeqLen = 16384,
    kv_len: options.KvLen = None,
    q_offset: options.QOffset = 0,
    heads: options.Heads = 8,
    kv_heads: options.KvHeads = None,
    head_dim: options.HeadDim = 64,
    value_dim: options.ValueDim = None,
    batch: options.Batch = 1,
    dtype: Annotated[
        str | None, typer.Option(show_default="fp32, on a GPU bf16", help="fp32, bf16, fp16 or fp64.")
    ] = None,
    target: Annotated[str, typer.Option(help="auto for the device at hand, or a name from `attncc targets`.")] = "auto",
    direction: options.Direction = "both",
    effort: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="Time in all, such as 300s or 5m.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of each direction.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compile, or GPUs that measure.")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the search and of the inputs.")] = 0,
    mode: Annotated[
        str | None, typer.Option(show_default="measured if it is here", help="measured or modelled.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(show_default="torch, on a GPU triton", help="The backend to tune.")
    ] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file that adds to the search space.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="A database that several hosts share the trials in.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Tune again what was tuned before.")] = False,
    topology: options.MaybeTopology = None,
    ranks: options.Ranks = None,
    mesh: Annotated[
        str | None,
        typer.Option(metavar="BxHxS", show_default="choose", help="With --topology: batch x heads x sequence."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="With --topology, under torchrun: run the best by simulation.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the space and the ranking; run nothing.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result to a file for `attncc cache import`.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with plots of the search.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Find the best plan and configuration of a pattern; `attncc.attention` uses it from then on.

    With --topology: how devices share the sequence, by simulation, which `attncc.distributed.compile` uses.

    Example: attncc tune strided -p l=128 --seq-len 16384
    """
    from attncc.storage import check_file

    chosen = options.pattern_from(pattern, param)
    shared = {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "value_dim": value_dim,
        "batch": batch,
        "dtype": dtype,
        "direction": direction,
        "effort": effort,
        "budget": None if budget is None else _seconds(budget),
        "trials": trials,
        "workers": workers,
        "seed": seed,
        "space": space,
        "storage": storage,
        "force": force,
    }
    of_device = {
        "score": options.score_from(score, score_param, heads),
        "kv_len": kv_len,
        "q_offset": q_offset,
        "target": target,
        "backend": backend,
        "mode": mode,
    }
    of_topology = {"topology": topology, "ranks": ranks, "mesh": mesh, "measure": measure}
    request = _request(chosen, seq_len, shared, of_device, of_topology)
    if dry_run:
        _show_space(request, as_json)
        return
    check_file(export, "--export")
    check_file(report, "--report")
    found = _tuned(request)
    if not measure or os.environ.get("RANK", "0") == "0":
        _deliver(found, export, report, as_json)


def _deliver(found: Results, export: Path | None, report: Path | None, as_json: bool) -> None:
    """Write what was found to the files that are wanted, and print it."""
    if export is not None:
        from attncc.configs import bundle

        bundle.save([result.entry for result in found.each], export, "--export")
    if report is not None:
        from attncc.tune.report import write

        write(found, report)
    if as_json:
        output.show_json(found.describe())
    else:
        from attncc.cli.tuning_view import summary

        output.show(*summary(found))


def _request(
    pattern: Pattern,
    seq_len: int,
    shared: dict[str, Any],
    of_device: dict[str, Any],
    of_topology: dict[str, Any],
) -> Asked[Any]:
    """Return what is asked; raises ConfigError for options that mean nothing without, or with, a topology."""
    on_topology = of_topology["topology"] is not None
    for name, value in (of_device if on_topology else of_topology).items():
        if value not in (None, 0, "auto"):
            raise ConfigError(
                f"--{name.replace('_', '-')} {'with' if on_topology else 'without'} --topology.",
                rule="A schedule is for self-attention on the devices of a topology.",
                fix="Leave one of them out." if on_topology else "Add --topology, for example --topology 8xh100.",
            )
    if on_topology:
        from attncc.tune.schedules.request import ScheduleRequest

        mesh = of_topology["mesh"] and _mesh(of_topology["mesh"])
        return ScheduleRequest(pattern, seq_len, **shared, **(of_topology | {"mesh": mesh}))
    from attncc.tune.autotune import Request

    return Request(pattern, seq_len, **shared, **of_device)


def _tuned(request: Asked[Any]) -> Results:
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


def _mesh(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if found is None:
        raise ConfigError(f"--mesh {text!r}.", rule="It is batch x heads x sequence.", fix="For example 1x2x4")
    return int(found[1]), int(found[2]), int(found[3])


def _show_space(request: Asked[Any], as_json: bool) -> None:
    """Print each direction's space: its size, what each constraint removes, and the best by prediction."""
    from attncc.cli.tuning_view import space_of
    from attncc.planner.directions import SHORT_NAMES
    from attncc.tune.tuning import field_of

    described = {SHORT_NAMES[job.direction]: field_of(request.subject(job)).describe(LISTED) for job in request.jobs}
    if as_json:
        output.show_json(described)
        return
    for direction, field in described.items():
        output.show(*space_of(direction, field), "")
