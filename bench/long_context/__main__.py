"""Train the models, time them, and show the tables: python -m bench.long_context --help"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from attncc._util import storage

from . import report
from .applications import Application, applications, quick
from .cells import RESULTS, Cell, Show, begun, every, run, save
from .reach import reachable
from .speed import measure_apart, measured

QUICK = Path("long-context-quick")
NOTES = Console(stderr=True)
app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)

Only = Annotated[list[str] | None, typer.Option(help="An application: text, pixels, copying, recall, listops.")]
Family = Annotated[list[str] | None, typer.Option(help="A family, such as window.")]
Contexts = Annotated[list[int] | None, typer.Option("--context", help="Tokens of a window.")]
Quick = Annotated[bool, typer.Option("--quick", help="A look in five minutes: few steps, nothing is kept beside.")]


@app.command("run")
def train(
    only: Only = None,
    family: Family = None,
    context: Contexts = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each model.")] = 2,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no model after so long.")] = float("inf"),
    look: Quick = False,
) -> None:
    """Train every model that has no result yet; a result is a file, so that an interrupted run goes on."""
    known, results = (quick(), QUICK) if look else (applications(), RESULTS)
    wanted = _chosen(list(every(known, 1 if look else seeds)), only, family, context)
    missing = (cell for cell in wanted if not cell.path(results).exists())
    for _, cells in groupby(_until(minutes, missing), lambda cell: (cell.application, cell.family, cell.seed)):
        beginning = None
        for cell in cells:
            application = known[cell.application]
            NOTES.print(f"{1 + wanted.index(cell)} of {len(wanted)}: {cell}", highlight=False)
            _predict(cell, application)
            with _progress(application.pace.steps) as show:
                beginning = beginning or begun(cell, application, show)
                found = run(cell, application, beginning, show)
            save(cell, found, results)
            for name, each in found["judged"].items():
                NOTES.print(f"  {name}: {each['bits']:.3f} bits, {each['right']:.1%} right", highlight=False)
    if look:
        typer.echo(report.tables(QUICK, known))


@app.command()
def speed(only: Only = None, family: Family = None, context: Contexts = None) -> None:
    """Time a few steps of every model that hasn't been timed; nothing else should run on the machine."""
    for cell in _chosen(list(every(applications(), 1)), only, family, context):
        path = RESULTS / "speed" / f"{cell.application}-{cell.family}-{cell.context}.json"
        if path.exists():
            continue
        found = measure_apart(cell)
        storage.write(path, f"{json.dumps(found, indent=1)}\n".encode())
        NOTES.print(f"{cell}: {found['tokens_per_second']:,} tokens/s, {found['megabytes']:,} MB", highlight=False)


@app.command("time", hidden=True)
def time_here(application: str, family: str, context: int) -> None:
    """Time one model in this process, and print JSON."""
    typer.echo(json.dumps(measured(Cell(application, family, context, 0), applications()[application])))


@app.command("report")
def write_report() -> None:
    """Write tables and plots of all results to docs/."""
    report.write(applications())


def _chosen(
    cells: list[Cell], only: list[str] | None, family: list[str] | None, context: list[int] | None
) -> list[Cell]:
    return [
        cell
        for cell in cells
        if (not only or cell.application in only)
        and (not family or cell.family in family)
        and (not context or cell.context in context)
    ]


def _until(minutes: float, cells: Iterable[Cell]) -> Iterator[Cell]:
    """Yield cells for so long."""
    end = time.monotonic() + 60 * minutes
    for cell in cells:
        if time.monotonic() >= end:
            NOTES.print(f"{minutes:g} minutes are over; the same command goes on from here.")
            return
        yield cell


@contextmanager
def _progress(steps: int) -> Iterator[Show]:
    """Show a bar; without a terminal a line for each tenth."""
    if not NOTES.is_terminal:
        yield (
            lambda step, bits: (
                NOTES.print(f"  step {step} of {steps}: {bits:.3f} bits", highlight=False)
                if step % max(1, steps // 10) == 0
                else None
            )
        )
        return
    with Progress(BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"), console=NOTES) as bar:
        task = bar.add_task("starting", total=steps)
        yield lambda step, bits: bar.update(task, completed=step, description=f"{bits:.3f} bits")


def _predict(cell: Cell, application: Application) -> None:
    """Say before training what the graph of a family allows."""
    distances, graph = application.distances, application.families[cell.family].graph
    if not distances:
        return
    layers = application.shape.layers
    shares = (
        ["the data decide"]
        if graph is None
        else [f"{each}: {reachable(graph(cell.context), cell.context, layers, each):.0%}" for each in distances]
    )
    NOTES.print(f"  tokens that can know what lies so far before them: {', '.join(shares)}", highlight=False)


if __name__ == "__main__":
    app()
