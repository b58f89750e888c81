"""`attncc tune`: the best plan and configuration for a target, found once and remembered."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncc.cli import options, output
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from attncc.frontend.patterns import Pattern
    from attncc.tune.request import Asked
    from attncc.tune.result import Result, Results

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
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time in all, such as 300s or 5m (quick: 75s here).")
    ] = None,
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
    of_topology = {"topology": topology, "ranks": ranks, "mesh": mesh, "measure": measure}

    def request() -> Asked[Any]:
        of_device = {
            "score": options.score_from(score, score_param, heads),
            "kv_len": kv_len,
            "q_offset": q_offset,
            "target": target,
            "backend": backend,
            "mode": mode,
        }
        return _request(options.pattern_from(pattern, param), seq_len, shared, of_device, of_topology)

    if dry_run:
        _show_space(request, as_json)
        return
    from attncc._util.storage import check_file

    check_file(export, "--export")
    check_file(report, "--report")
    is_rank, is_first = measure and topology is not None, os.environ.get("RANK", "0") == "0"
    found, status = _tuned(request, as_json, is_rank, is_first)
    if is_first or not is_rank:
        _deliver(found, export, report, as_json)
    if status:
        raise typer.Exit(status)


def _tuned(request: Callable[[], Asked[Any]], as_json: bool, is_rank: bool, is_first: bool) -> tuple[Results, int]:
    """Tune, showing what is done and each result at once; return what was found, and an exit status if it was stopped.

    Ranks of a world end together or not at all, so that signals do to each what they do without attncc.
    """
    from attncc.cli.tuning_watch import heeding, watching
    from attncc.tune.result import Results

    if is_rank and not is_first:
        return request().answered(), 0
    with watching(_printed(as_json)) as watch:
        try:
            with nullcontext() if is_rank else heeding(watch):
                found = request().answered(watch)
        except KeyboardInterrupt:
            found = Results(watch.results, is_cancelled=True)
    return found, 128 + (watch.signal or signal.SIGINT) if found.is_cancelled else 0


def _printed(as_json: bool) -> Callable[[Result], None]:
    """Return what prints a direction's result as soon as it is there: beside the JSON object, a line on stderr."""

    def printed(result: Result) -> None:
        from attncc.cli import tuning_view

        if as_json:
            output.note(tuning_view.line(result))
        else:
            output.show(*tuning_view.direction(result))

    return printed


def _deliver(found: Results, export: Path | None, report: Path | None, as_json: bool) -> None:
    """Write what was found to the files that are wanted, and say what it is good for."""
    from attncc.tune.answer import answer

    if export is not None and found.each:
        from attncc.configs import bundle

        bundle.save([result.entry for result in found.each], export, "--export")
    if report is not None and found.each:
        from attncc.tune.report import write

        write(found, report)
    said = answer(found)
    if as_json:
        output.show_json({**found.describe(), "answer": said})
    else:
        output.show(said)


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


def _show_space(request: Callable[[], Asked[Any]], as_json: bool) -> None:
    """Print each direction's space: its size, what each constraint removes, and the best by prediction."""
    from attncc.cli.progress import progress
    from attncc.cli.tuning_view import space_of
    from attncc.planner.directions import SHORT_NAMES

    described = {}
    with progress() as on_step:
        on_step("loading")
        asked = request()
        from attncc.tune.tuning import field_of

        for job in asked.jobs:
            on_step(f"{job.direction}: planning, and ranking the configurations")
            described[SHORT_NAMES[job.direction]] = field_of(asked.subject(job)).describe(LISTED)
    if as_json:
        output.show_json(described)
        return
    for direction, field in described.items():
        output.show(*space_of(direction, field), "")
