"""The picture in README.md is what docs/patterns.py draws."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from attncc.visualization.connectivity_png import save_gallery

DOCS = Path(__file__).parents[2] / "docs"


def test_the_readme_picture_is_up_to_date(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "patterns.py"))
    save_gallery(script["shown"](), script["LENGTH"], tmp_path / "patterns.png")
    made, kept = (imread(folder / "patterns.png") for folder in (tmp_path, DOCS))
    assert made.shape == kept.shape
    body = slice(90, None)  # below the titles, which depend on the version of the font
    assert np.mean(np.abs(made[body] - kept[body]) > 0.5) < 0.01
