"""`attncc plugins`: the installed plugins, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from attncc.cli import options, output
from attncc.errors import printable

if TYPE_CHECKING:
    from attncc._util.entry_points import Loaded

app = typer.Typer(no_args_is_help=True, help="Plugins: packages that bring patterns or backends.")


@app.callback()
def plugins() -> None:
    """Plugins: packages that bring patterns or backends."""


@app.command()
def doctor(as_json: options.AsJson = False) -> None:
    """Import every plugin; print the traceback of each failure, and exit with 1 if there is one.

    Example: attncc plugins doctor
    """
    import warnings

    from attncc._util.entry_points import PluginWarning
    from attncc.backends import BACKENDS
    from attncc.frontend.plugins import PATTERNS

    for group in (PATTERNS, BACKENDS):
        group.plugins()  # which warns of several of one name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        rows = [_row(result, "patterns", sorted(result.content or {})) for result in PATTERNS.loaded()]
        others = [_row(result, "backend", result.plugin.name) for result in BACKENDS.loaded()]
    tracebacks = [f"\n{row['plugin']}:\n{row['traceback']}" for row in (*rows, *others) if row["traceback"]]
    if as_json:
        output.show_json({"plugins": rows, "backends": others})
    else:
        listing = output.table("", "plugin", "distribution", "module", "patterns")
        for row in rows:
            listing.add_row(*_cells(row), _state(row, ", ".join(row["patterns"])))
        running = output.table("", "backend", "distribution", "module", "state")
        for row in others:
            running.add_row(*_cells(row), _state(row, "loads"))
        output.show(listing, running, *tracebacks)
    if tracebacks:
        raise typer.Exit(1)


def _row(result: Loaded[Any], kind: str, content: object) -> dict[str, Any]:
    plugin = result.plugin
    named = {"plugin": plugin.reference, "distribution": plugin.origin, "module": plugin.module}
    return {**named, kind: content, "traceback": result.traceback}


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    return str(row["plugin"]), str(row["distribution"]), str(row["module"])


def _state(row: dict[str, Any], loaded: str) -> Text:
    return Text("broken", style="red") if row["traceback"] else Text(printable(loaded))
