"""`attncc list`: the patterns that are installed."""

from __future__ import annotations

from attncc.cli import options
from attncc.cli.output import show, show_json, table


def list_patterns(as_json: options.AsJson = False) -> None:
    """List the installed patterns: name, plugin, parameters and description.

    Example: attncc list
    """
    from attncc.frontend.catalog import factories

    rows = [
        {
            "name": pattern.name,
            "plugin": plugin,
            "parameters": [str(parameter) for parameter in pattern.parameters],
            "doc": pattern.doc.partition("\n")[0],
        }
        for plugin, pattern in factories()
    ]
    if as_json:
        show_json({"patterns": rows})
        return
    listing = table("", "pattern", "plugin", "parameters", "what it is")
    listing.columns[0].no_wrap = True  # names are to be copied
    for row in rows:
        listing.add_row(str(row["name"]), str(row["plugin"]), "\n".join(row["parameters"]), str(row["doc"]))
    show(listing)
