"""Figures: a blank one to draw in, what curves and axes look like, and its PNG file."""

from __future__ import annotations

import io
import textwrap
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
    """Return text in at most `lines` lines of `width` characters; an ellipsis stands for the rest."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def write(figure: Any, path: Path) -> None:
    """Save a figure as PNG; raises ConfigError if `path` can't be written."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    storage.save(path, content.getvalue(), "--png")
