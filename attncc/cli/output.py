"""Output: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from attncc._util.units import quantity as quantity
from attncc._util.units import seconds as seconds
from attncc.errors import printable

#: Columns of a terminal on which any table fits.
_UNBOUNDED = 1 << 16


class PlainConsole(Console):
    """A console on which text appears as it is, and does nothing: no markup, and no escapes of plugins and files."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text to print, measured as it will be printed."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of what is printed, also of what was no str."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(printable(part.text), part.style)


def show(*parts: RenderableType) -> None:
    """Print results for people; a table that would be too wide gets narrow gaps before its cells are folded.

    A pipe or a file has no width: nothing is folded there, so that grep finds names, unless `COLUMNS` says otherwise.
    """
    console = PlainConsole()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = PlainConsole(width=_UNBOUNDED)
    for part in parts:
        if isinstance(part, Table):
            unbounded = console.options.update(width=_UNBOUNDED)
            part.collapse_padding = console.measure(part, options=unbounded).maximum > console.width
        console.print(part)


def show_json(value: object) -> None:
    """Print a result for scripts."""
    print(json.dumps(value, indent=2))


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table; the columns in `numbers` are aligned to the right."""
    made = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    made.title_style = "bold"
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def facts(title: str, rows: dict[str, str]) -> Group:
    """Return a title over a two-column table of names and values."""
    made = table("", "", "")
    made.show_header = False
    for name, value in rows.items():
        made.add_row(Text(printable(name), style="dim"), Text(printable(value)))
    return Group(Text(printable(title), style="bold"), made)


def note(text: str) -> None:
    """Say something on stderr, beside the result."""
    PlainConsole(stderr=True).print(text, style="dim")
