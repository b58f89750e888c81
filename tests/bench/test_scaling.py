"""The chart of weak scaling, with and without a bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scaling
from matplotlib.image import imread

import attncc

CURVES = {"window": [(1, 1.0), (8, 0.98), (1024, 0.95)], "strided": [(8, 0.7), (1, 1.0)]}


def test_a_bar_is_drawn_beside_the_curves(tmp_path: Path) -> None:
    scaling.save(CURVES, "weak scaling", tmp_path / "plain.png")
    scaling.save(CURVES, "weak scaling", tmp_path / "marked.png", bar=0.9)
    plain, marked = (imread(tmp_path / f"{name}.png") for name in ("plain", "marked"))
    assert plain.shape == marked.shape
    assert np.any(plain != marked)


def test_the_order_of_points_does_not_matter(tmp_path: Path) -> None:
    scaling.save(CURVES, "weak scaling", tmp_path / "one.png")
    turned = {name: points[::-1] for name, points in CURVES.items()}
    scaling.save(turned, "weak scaling", tmp_path / "other.png")
    assert np.array_equal(imread(tmp_path / "one.png"), imread(tmp_path / "other.png"))


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "nowhere").write_text("in the way")
    with pytest.raises(attncc.AttnccError, match="can't be written"):
        scaling.save(CURVES, "weak scaling", tmp_path / "nowhere" / "x.png")
