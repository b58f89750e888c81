"""PNG files: written for one and several subsets, and refused with a message where they can't be."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

import attncc
from attncc.pictures import png


def width(path: Path) -> int:
    return int(imread(path).shape[1])


def test_a_panel_for_each_subset_and_one_for_the_union(tmp_path: Path) -> None:
    png.save(attncc.load("causal"), 64, tmp_path / "one.png")
    png.save(attncc.load("strided", l=8), 64, tmp_path / "three.png")
    assert width(tmp_path / "three.png") == 3 * width(tmp_path / "one.png")


def test_a_gallery_has_a_panel_for_each_pattern(tmp_path: Path) -> None:
    png.save_gallery([attncc.load("causal"), attncc.load("strided", l=8)], 64, tmp_path / "two.png")
    png.save_gallery([attncc.load("causal")], 64, tmp_path / "one.png")
    assert width(tmp_path / "two.png") == 2 * width(tmp_path / "one.png")


def test_a_folder_that_is_not_there_is_made_and_a_file_in_its_place_is_not(tmp_path: Path) -> None:
    png.save(attncc.load("causal"), 64, tmp_path / "new" / "x.png")
    assert (tmp_path / "new" / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(attncc.AttnccError, match="can't be written"):
        png.save(attncc.load("causal"), 64, tmp_path / "new" / "x.png" / "y.png")
