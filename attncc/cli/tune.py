"""`attncc tune`: search once for the best plan and configuration for a target, and store it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncc.cli import options, output
from attncc.cli.tuning_options import values_of, with_tuning_options

if TYPE_CHECKING:
    from attncc.tune.request import TuningRequest
    from attncc.tune.result import TaskResult, TuningResult

#: Candidates that a dry run lists.
LISTED = 10


@with_tuning_options
def tune(
    pattern: options.PatternName,
    param: options.Parameters = None,
    score: options.ScoreName = None,
    score_param: options.ScoreParameters = None,
    seq_len: options.SeqLen = 16384,
    topology: options.MaybeTopology = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the space and the ranking; run nothing.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result to a file for `attncc cache import`.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with plots of the search.")
    ] = None,
    as_json: options.AsJson = False,
    **chosen: Any,
) -> None:
    """Find the best plan and configuration of a pattern; `attncc.attention` uses it from then on.

    With --topology: how devices share the sequence, by simulation, which `attncc.distributed.compile` uses.

    Example: attncc tune strided -p l=128 --seq-len 16384
    """

    def request() -> TuningRequest:
        from attncc.tune.request import TuningRequest

        return TuningRequest(
            options.pattern_from(pattern, param),
            seq_len,
            score=options.score_from(score, score_param, chosen["heads"]),
            topology=topology,
            **values_of(chosen),
        )

    if dry_run:
        _show_space(request, as_json)
        return
    from attncc._util.storage import check_file

    check_file(export, "--export")
    check_file(report, "--report")
    is_rank, is_first = chosen["measure"] and topology is not None, os.environ.get("RANK", "0") == "0"
    tuned, status = _tuned(request, as_json, is_rank, is_first)
    if is_first or not is_rank:
        _deliver(tuned, export, report, as_json)
    if status:
        raise typer.Exit(status)


def _tuned(
    request: Callable[[], TuningRequest], as_json: bool, is_rank: bool, is_first: bool
) -> tuple[TuningResult, int]:
    """Tune, showing each step, and each result at once; return all results, and an exit status if it was stopped.

    Ranks of a world end together or not at all, so that signals do to each what they do without attncc.
    """
    from attncc.cli.tuning_watch import heeding, watching
    from attncc.tune.autotune import answer
    from attncc.tune.result import TuningResult

    if is_rank and not is_first:
        return answer(request()), 0
    with watching(_printed(as_json)) as watch:
        try:
            with nullcontext() if is_rank else heeding(watch):
                tuned = answer(request(), watch)
        except KeyboardInterrupt:
            tuned = TuningResult(watch.results, is_cancelled=True)
    return tuned, 128 + (watch.signal or signal.SIGINT) if tuned.is_cancelled else 0


def _printed(as_json: bool) -> Callable[[TaskResult], None]:
    """Return what prints a direction's result as soon as it is there: beside the JSON object, a line on stderr."""

    def printed(result: TaskResult) -> None:
        from attncc.cli import tuning_view

        if as_json:
            output.note(tuning_view.line(result))
        else:
            output.show(*tuning_view.direction(result))

    return printed


def _deliver(tuned: TuningResult, export: Path | None, report: Path | None, as_json: bool) -> None:
    """Write the results to the files that are wanted, and say what they are good for."""
    from attncc.cli.tuning_summary import summary

    if export is not None and tuned.each:
        from attncc.configs import bundle

        bundle.save([result.entry for result in tuned.each], export, "--export")
    if report is not None and tuned.each:
        from attncc.cli.tuning_report import write

        write(tuned, report)
    said = summary(tuned)
    if as_json:
        output.show_json({**tuned.describe(), "answer": said})
    else:
        output.show(said)


def _show_space(request: Callable[[], TuningRequest], as_json: bool) -> None:
    """Print each direction's space: its size, what each constraint removes, and the best by prediction."""
    from attncc.cli.progress import progress
    from attncc.cli.tuning_view import space_of
    from attncc.planner.directions import SHORT_NAMES
    from attncc.tune.autotune import tasks_of

    described = {}
    with progress() as on_step:
        on_step("loading")
        asked = request()
        for task in tasks_of(asked):
            on_step(f"{task.direction}: planning, and ranking the configurations")
            described[SHORT_NAMES[task.direction]] = task.ranking(asked).describe(LISTED)
    if as_json:
        output.show_json(described)
        return
    for direction, ranking in described.items():
        output.show(*space_of(direction, ranking), "")
