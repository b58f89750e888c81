"""Figures: a blank one to draw in, and its PNG file."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

from attncc._util import storage


def blank(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure, in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def wrapped(text: str, width: int, lines: int) -> str:
    """Return text in at most `lines` lines of `width` characters; an ellipsis stands for the rest."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def write(figure: Any, path: Path) -> None:
    """Save a figure as PNG; raises ConfigError if `path` can't be written."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    storage.save(path, content.getvalue(), "--png")
