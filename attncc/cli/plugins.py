"""`attncc plugins`: the installed plugins, and what is wrong with them."""

from __future__ import annotations

import typer
from rich.text import Text

from attncc.cli import options, output
from attncc.errors import printable

app = typer.Typer(no_args_is_help=True, help="Plugins: packages that bring patterns.")


@app.callback()
def plugins() -> None:
    """Plugins: packages that bring patterns."""


@app.command()
def doctor(as_json: options.AsJson = False) -> None:
    """Load every plugin; print the traceback of each that fails, and exit with 1 if one does.

    Example: attncc plugins doctor
    """
    import warnings

    from attncc.frontend.plugins import PluginWarning, loaded, plugins

    plugins()  # which warns of several of one name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        results = list(loaded())
    rows = [
        {
            "plugin": result.plugin.reference,
            "distribution": result.plugin.origin,
            "module": result.plugin.module,
            "patterns": sorted(result.patterns),
            "traceback": result.traceback,
        }
        for result in results
    ]
    if as_json:
        output.show_json({"plugins": rows})
    else:
        listing = output.table("", "plugin", "distribution", "module", "patterns")
        for row in rows:
            state = Text("broken", style="red") if row["traceback"] else Text(printable(", ".join(row["patterns"])))
            listing.add_row(str(row["plugin"]), str(row["distribution"]), str(row["module"]), state)
        output.show(listing, *(f"\n{row['plugin']}:\n{row['traceback']}" for row in rows if row["traceback"]))
    if any(result.error is not None for result in results):
        raise typer.Exit(1)
