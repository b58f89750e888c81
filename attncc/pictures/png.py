"""Pictures of connectivity as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attncc.ir.notation import connectivity
from attncc.ir.tables import Array
from attncc.patterns import Pattern
from attncc.pictures import figure
from attncc.pictures.grid import Grid, grid

#: Cells a side: enough for a picture to look like the matrix, few enough to see single cells.
CELLS = 128
#: One colour for each subset.
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd")


def save(pattern: Pattern, seq_len: int, path: Path) -> None:
    """Draw every subset of a pattern, and their union, side by side; raises ConfigError if `path` can't be written."""
    found = grid(pattern, seq_len, CELLS)
    panels = [(connectivity(subset, m), found.cells[m - 1]) for m, subset in enumerate(pattern.subsets, start=1)]
    if len(panels) > 1:
        panels.append(("union", _coloured(found)))
    _save([(title, cells, found.side) for title, cells in panels], repr(pattern), path)


def save_gallery(patterns: Sequence[Pattern], seq_len: int, path: Path) -> None:
    """Draw the unions of several patterns side by side."""
    grids = [grid(pattern, seq_len, CELLS) for pattern in patterns]
    panels = [(repr(p), _coloured(found), found.side) for p, found in zip(patterns, grids, strict=True)]
    _save(panels, "", path)


def _coloured(found: Grid) -> Array:
    """Return an RGB image, each subset in its colour, earlier ones on top."""
    from matplotlib.colors import to_rgb

    image = np.ones((*found.cells[0].shape, 3))
    for m in reversed(range(len(found.cells))):
        weight = found.cells[m][:, :, None] / 2
        image = image * (1 - weight) + np.array(to_rgb(_COLOURS[m % len(_COLOURS)])) * weight
    return image


def _save(panels: list[tuple[str, Array, int]], title: str, path: Path) -> None:
    made = figure.blank(3.6 * len(panels), 4.1)
    for axes, (label, cells, side) in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, label, cells, side)
    made.suptitle(title)
    figure.write(made, path)


def _panel(axes: Any, label: str, cells: Array, side: int) -> None:
    rows, cols = cells.shape[:2]
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=2, interpolation="nearest", extent=(0, cols * side, rows * side, 0))
    axes.set_title(label, fontsize=8, wrap=True)
    axes.set_xlabel("key j")
    axes.set_ylabel("query i")
    axes.tick_params(labelsize=7)
