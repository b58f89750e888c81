"""A picture of connectivity for the terminal: two cells to a character, one colour a subset."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from attncc.ir.tables import Array
from attncc.planner.tiles import EMPTY, FULL
from attncc.visualization.connectivity import Grid

#: One colour for each subset; cells in several subsets are drawn in the last.
COLOURS = ("dodger_blue1", "orange1", "green3", "magenta", "yellow3")
SHARED = "grey85"


def draw(grid: Grid) -> Text:
    """Return the picture, query positions downwards and key positions to the right.

    An upper or lower half block is one cell; cells that are only partly connected are drawn dim.
    """
    styles = _styles(grid)
    if len(styles) % 2:
        styles.append([""] * len(styles[0]))
    picture = Text()
    for upper, lower in zip(styles[::2], styles[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            picture.append(*_character(top, bottom))
        picture.append("\n")
    return picture


def _styles(grid: Grid) -> list[list[str]]:
    """Return the style of every cell, empty for cells without connections."""
    stack = np.stack(grid.cells)
    return [[_style(stack[:, row, col]) for col in range(stack.shape[2])] for row in range(stack.shape[1])]


def _style(classes: Array) -> str:
    members = np.flatnonzero(classes != EMPTY)
    if not len(members):
        return ""
    colour = SHARED if len(members) > 1 else COLOURS[int(members[0]) % len(COLOURS)]
    return colour if classes.max() == FULL else f"dim {colour}"


def _character(top: str, bottom: str) -> tuple[str, str]:
    if not top and not bottom:
        return " ", ""
    if top == bottom:
        return "█", top
    if not bottom:
        return "▀", top
    if not top:
        return "▄", bottom
    return "▀", f"{top} on {bottom.removeprefix('dim ')}"
