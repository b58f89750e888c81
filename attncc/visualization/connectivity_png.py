"""Pictures of connectivity as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attncc.frontend.patterns import Pattern
from attncc.ir.notation import connectivity
from attncc.ir.tables import Array
from attncc.planner.shape import Shape
from attncc.visualization import figure
from attncc.visualization.connectivity import Grid, grid

#: Cells a side: enough for a picture to look like the matrix, few enough to see single cells.
CELLS = 256
#: Inches of a panel, across and down, without its label.
_SIDE = (3.6, 4.1)
#: Characters of a line, and lines, of what stands above each panel and above all; points of their letters.
_LABEL, _TITLE = (50, 20), (42, 12)
_LABEL_SIZE, _TITLE_SIZE = 8, 10
#: Height of a line over its letters', and points of an inch.
_LEADING, _POINTS = 1.3, 72
#: One colour for each subset.
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd")


def save(pattern: Pattern, shape: Shape, path: Path) -> None:
    """Draw every subset of a pattern, and their union, side by side; raises ConfigError if `path` can't be written."""
    whole = grid(pattern, shape, CELLS)
    panels = [(connectivity(subset, m), whole.cells[m - 1]) for m, subset in enumerate(pattern.subsets, start=1)]
    if len(panels) > 1:
        panels.append(("union", _coloured(whole)))
    figure.write(_drawn([(title, cells, shape, whole.side) for title, cells in panels], repr(pattern)), path)


def save_gallery(patterns: Sequence[Pattern], seq_len: int, path: Path, kv_lens: Sequence[int] = ()) -> None:
    """Draw the unions of several patterns side by side, with `kv_lens` keys each, or as many as queries."""
    shapes = [Shape(seq_len, kv_len) for kv_len in kv_lens or [seq_len] * len(patterns)]
    grids = [grid(each, shape, CELLS) for each, shape in zip(patterns, shapes, strict=True)]
    panels = [(repr(p), _coloured(g), shape, g.side) for p, g, shape in zip(patterns, grids, shapes, strict=True)]
    figure.write(_drawn(panels, ""), path)


def _coloured(grid: Grid) -> Array:
    """Return an RGB image, each subset in its colour, earlier ones on top."""
    from matplotlib.colors import to_rgb

    image = np.ones((*grid.cells[0].shape, 3))
    for m in reversed(range(len(grid.cells))):
        weight = grid.cells[m][:, :, None] / 2
        image = image * (1 - weight) + np.array(to_rgb(_COLOURS[m % len(_COLOURS)])) * weight
    return image


def _drawn(panels: list[tuple[str, Array, Shape, int]], title: str) -> Any:
    """Return a figure of the panels (label, cells, shape, positions of a cell), as tall as labels need."""
    width, lines = _TITLE
    title = figure.wrapped(title, width * len(panels), lines)
    labels = [figure.wrapped(label, *_LABEL) for label, *_ in panels]
    above = max(label.count("\n") for label in labels) * _LABEL_SIZE + title.count("\n") * _TITLE_SIZE
    made = figure.blank(_SIDE[0] * len(panels), _SIDE[1] + above * _LEADING / _POINTS)
    for axes, label, (_, cells, shape, side) in zip(
        made.subplots(1, len(panels), squeeze=False)[0], labels, panels, strict=True
    ):
        _panel(axes, label, cells, shape, side)
    made.suptitle(title, fontsize=_TITLE_SIZE, parse_math=False)
    return made


def _panel(axes: Any, label: str, cells: Array, shape: Shape, side: int) -> None:
    rows, cols = cells.shape[:2]
    first, end = shape.q_offset, shape.q_offset + shape.q_len  # the last cells may reach beyond the sequence
    extent = (0, cols * side, first + rows * side, first)
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=2, interpolation="nearest", extent=extent)
    axes.set(xlim=(0, shape.kv_len), ylim=(end, first), aspect=shape.kv_len / shape.q_len, anchor="S")
    axes.set_title(label, fontsize=_LABEL_SIZE, parse_math=False)
    axes.set_xlabel("key j")
    axes.set_ylabel("query i")
    axes.tick_params(labelsize=7)
    axes.locator_params(integer=True)
