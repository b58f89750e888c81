"""Pieces of HTML: tables of facts, and pictures of cells as SVG. Texts are escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from attncc.ir.tables import Array
from attncc.planner.tiles import FULL, PARTIAL

#: Colours of PARTIAL and FULL cells; EMPTY ones show the ground.
COLOURS = {PARTIAL: "#9ecae1", FULL: "#2171b5"}
GROUND = "#f4f5f7"
#: Pixels of a thumbnail's side.
SIDE = 160
_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top"


def facts(title: str, rows: Mapping[str, str]) -> str:
    """Return a title over a table of names and values."""
    lines = "".join(
        f'<tr><th style="{_CELL};font-weight:normal;opacity:.7">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<div><strong>{escape(title)}</strong><table>{lines}</table></div>"


def beside(*parts: str) -> str:
    """Return parts beside each other, as far as there is room."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">{"".join(parts)}</div>'


def picture(cells: Array, caption: str, side: int = SIDE) -> str:
    """Return cells, int8 (rows, columns) of EMPTY, PARTIAL and FULL, as an SVG of `side` pixels, over its caption."""
    rows, columns = cells.shape
    width, height = (max(round(side * count / max(rows, columns, 1)), side // 4) for count in (columns, rows))
    paths = "".join(f'<path fill="{colour}" d="{_path(cells == kind)}"/>' for kind, colour in COLOURS.items())
    return (
        f'<figure style="margin:0"><svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" shape-rendering="crispEdges" role="img" '
        f'aria-label="{escape(caption)}" style="background:{GROUND};outline:1px solid #ccc">{paths}</svg>'
        f'<figcaption style="font-size:smaller;max-width:{side}px">{escape(caption)}</figcaption></figure>'
    )


def _path(chosen: Array) -> str:
    """Return a path around the cells that are True: a rectangle for each run of a row."""
    return "".join(f"M{start} {row}h{stop - start}v1h{start - stop}z" for row, start, stop in runs(chosen))


def runs(chosen: Array) -> Iterable[tuple[int, int, int]]:
    """Yield (row, start, stop) of the runs of True in each row of a boolean array."""
    edges = np.diff(chosen.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges == 1)
    _, stops = np.nonzero(edges == -1)
    return zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a heading."""
    heads = "".join(f'<th style="{_CELL}">{escape(column)}</th>' for column in columns)
    lines = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(value)}</td>' for value in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{heads}</tr>{lines}</table>"
