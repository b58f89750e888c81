"""What a plan does, the picture in README.md: tiles before and after the layout:

python docs/tiles.py

writes docs/tiles.png.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attncc
from attncc.planner.tiles import EMPTY, FULL, PARTIAL, Tiles
from attncc.visualization import figure
from attncc.visualization.coarse import natural_tiles
from attncc.visualization.markup import COLOURS, GROUND

PICTURE = Path(__file__).with_name("tiles.png")
PATTERN = attncc.load("strided", l=16)
#: Positions, and positions of a tile: few enough to see single tiles.
LENGTH, BLOCK = 1024, 16
#: What the passes of the plan compute.
TITLES = ("1. The last 16 keys,\nin their order", "2. Every 16th key,\nsorted by position mod 16")


def plan() -> attncc.Plan:
    """Return the plan that is drawn: a pass for each set, the second one sorted."""
    return attncc.plan(PATTERN, LENGTH, tile=(BLOCK, BLOCK), target="cpu").preferring("split")


def drawn() -> Any:
    """Return the figure: all pairs in their order, then each pass in its layout."""
    from matplotlib.patches import Patch

    made = figure.blank(10.5, 4.6)
    before, *after = made.subplots(1, 3)
    shown = plan()
    _panel(before, natural_tiles(shown), f"Before: strided(l=16),\n{LENGTH:,} tokens in their order")
    for axes, work, title in zip(after, shown.all_passes(), TITLES, strict=True):
        _panel(axes, work.tiles, title)
    words = {FULL: "FULL: computed without a mask", PARTIAL: "PARTIAL: computed and masked", EMPTY: "EMPTY: skipped"}
    keys = [Patch(facecolor={**COLOURS, EMPTY: GROUND}[kind], edgecolor="#888", label=words[kind]) for kind in words]
    made.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    return made


def _panel(axes: Any, tiles: Tiles, title: str) -> None:
    from matplotlib.colors import ListedColormap

    colours = ListedColormap([GROUND, COLOURS[PARTIAL], COLOURS[FULL]])
    size = tiles.num_query_tiles, tiles.num_key_tiles
    axes.pcolormesh(tiles.classify(), cmap=colours, vmin=EMPTY, vmax=FULL, edgecolors="white", linewidth=0.3)
    axes.set(xlim=(0, size[1]), ylim=(size[0], 0), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=11)
    visited = f"{tiles.num_tiles:,} of {size[0] * size[1]:,} tiles computed"
    axes.set_xlabel(f"{visited},\n{tiles.num_full:,} of them FULL", fontsize=10)


if __name__ == "__main__":
    figure.write(drawn(), PICTURE)
