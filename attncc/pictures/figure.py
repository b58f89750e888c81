"""Figures: a blank one to draw in, and its PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attncc.errors import AttnccError


def blank(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure, in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write(figure: Any, path: Path) -> None:
    """Save a figure as PNG; raises AttnccError if `path` can't be written."""
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise AttnccError(f"{str(path)!r} can't be written: {error}.", fix="Choose another file for --png.") from error
