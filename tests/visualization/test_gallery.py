"""The pictures in README.md are what the scripts in docs draw, and what it says of them is so."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from attncc.visualization import figure
from attncc.visualization.coarse import natural_tiles
from attncc.visualization.connectivity_png import save_gallery

DOCS = Path(__file__).parents[2] / "docs"


def test_the_readme_picture_is_up_to_date(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "patterns.py"))
    save_gallery(script["shown"](), script["LENGTH"], tmp_path / "patterns.png")
    made, kept = (imread(folder / "patterns.png") for folder in (tmp_path, DOCS))
    assert made.shape == kept.shape
    body = slice(90, None)  # below the titles, which depend on the version of the font
    assert np.mean(np.abs(made[body] - kept[body]) > 0.5) < 0.01


def test_the_picture_of_tiles_is_up_to_date(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "tiles.py"))
    figure.write(script["drawn"](), tmp_path / "tiles.png")
    made, kept = (imread(folder / "tiles.png") for folder in (tmp_path, DOCS))
    assert made.shape == kept.shape
    body = slice(100, 560)  # between the titles and the labels
    assert np.mean(np.abs(made[body] - kept[body]) > 0.5) < 0.01


def test_the_pages_count_the_tiles_of_the_picture() -> None:
    plan = runpy.run_path(str(DOCS / "tiles.py"))["plan"]()
    tiles = [work.tiles for work in plan.all_passes()]
    before, after, full = natural_tiles(plan).num_tiles, sum(t.num_tiles for t in tiles), sum(t.num_full for t in tiles)
    readme, index = ((DOCS / name).read_text("utf-8").replace("\n", " ") for name in ("../README.md", "index.md"))
    assert f"compute {before:,} of them" in readme
    assert f"leaves {after} tiles, of which {full} need no mask" in readme
    assert f"{before:,} tiles" in index
    assert f"{after} tiles are left" in index
