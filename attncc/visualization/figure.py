"""Figures: a blank one to draw in, what curves and axes look like, and its PNG file."""

from __future__ import annotations

import io
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

from attncc._util import storage

#: Okabe and Ito's colours (2008) and a marker each, so that curves differ in grey too.
STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#555555", "x"),
    ("#56B4E9", "P"),
)
#: Of lines that curves are compared with.
GREY = "#777777"


def blank(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure, in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style(number: int, size: float = 4, width: float = 1.4) -> dict[str, Any]:
    """Return the colour and marker of a curve by its number, as `plot` takes them; beyond the last, from the first."""
    color, marker = STYLES[number % len(STYLES)]
    return {"color": color, "marker": marker, "markersize": size, "linewidth": width}


def unclutter(axes: Any, lines: str = "both") -> None:
    """Leave axes the sides that have labels, and light lines behind the curves, of "x", "y" or "both"."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=lines, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def wrapped(text: str, width: int, lines: int) -> str:
    """Return text in at most `lines` lines of `width` characters; an ellipsis stands for the rest.

    Lines end between the outermost clauses and arguments: what stands in brackets is only split where it is longer than
    a line, and what stands in quotes never, unless the word that it belongs to is longer.
    """
    found = _lines(text, width)
    if len(found) > lines:
        found[lines - 1 :] = [f"{found[lines - 1][: width - 2]} …"]
    return "\n".join(found)


def _lines(text: str, width: int) -> list[str]:
    """Return text in lines of `width` characters, split at the best ends that it has."""
    ends = _ends(text)
    if len(text) <= width:
        return [text]
    if not ends:
        return textwrap.wrap(text, width)
    best = min(ends.values())
    found: list[str] = []
    for start, stop in pairwise([0, *(place for place, rank in ends.items() if rank == best), len(text)]):
        part = text[start:stop]
        if found and len((found[-1] + part).rstrip()) <= width:
            found[-1] += part
        else:
            found += _lines(part.strip(), width)
    return [line.rstrip() for line in found]


def _ends(text: str) -> dict[int, tuple[int, int, str]]:
    """Return the places at which a line may end, with a rank: the least is the best.

    Outer brackets come before inner ones; of equal ones, commas and `or` before `and`, before other spaces, before what
    follows an opening bracket. Nothing ends within quotes.
    """
    found: dict[int, tuple[int, int, str]] = {}
    depth, quote = 0, ""
    for place, (before, letter, after) in enumerate(zip(f" {text}", text, f"{text[1:]} ", strict=False)):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not before.isalnum():
            quote = letter
        elif letter == " ":
            found[place] = (depth, after not in "∧∨" and before != ",", after if after == "∧" else "")
        else:
            depth += (letter in "([⌊⌈") - (letter in ")]⌋⌉")
            if letter == "(" and before.isalnum():
                found[place + 1] = (depth - 1, 2, "")
    return found


def write(figure: Any, path: Path) -> None:
    """Save a figure as PNG; raises ConfigError if `path` can't be written."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    storage.save(path, content.getvalue(), "--png")
