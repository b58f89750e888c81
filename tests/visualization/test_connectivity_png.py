"""PNG files of one and several subsets, and errors."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import attncc
from attncc.frontend import catalog
from attncc.ir.notation import connectivity
from attncc.planner.shape import Shape
from attncc.visualization import connectivity_png as png
from attncc.visualization import figure
from attncc.visualization.connectivity import grid
from attncc.visualization.examples import drawn_example


def width(path: Path) -> int:
    return int(imread(path).shape[1])


def test_each_subset_and_the_union_have_a_panel(tmp_path: Path) -> None:
    png.save(attncc.load("causal"), Shape.of(64), tmp_path / "one.png")
    png.save(attncc.load("strided", l=8), Shape.of(64), tmp_path / "three.png")
    assert width(tmp_path / "three.png") == 3 * width(tmp_path / "one.png")


def test_galleries_have_a_panel_for_each_pattern(tmp_path: Path) -> None:
    png.save_gallery([attncc.load("causal"), attncc.load("strided", l=8)], 64, tmp_path / "two.png")
    png.save_gallery([attncc.load("causal")], 64, tmp_path / "one.png")
    assert width(tmp_path / "two.png") == 2 * width(tmp_path / "one.png")


def test_missing_folders_are_created_but_files_not_replaced(tmp_path: Path) -> None:
    png.save(attncc.load("causal"), Shape.of(64), tmp_path / "new" / "x.png")
    assert (tmp_path / "new" / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(attncc.AttnccError, match="can't be written"):
        png.save(attncc.load("causal"), Shape.of(64), tmp_path / "new" / "x.png" / "y.png")


def drawn(label: str, seq_len: int, title: str):
    found = grid(attncc.load("causal"), Shape.of(seq_len), png.CELLS)
    return png._drawn([(label, found.cells[0], Shape.of(seq_len), found.side)], title)


@pytest.mark.parametrize("seq_len", [5, 129, 1000])
def test_axes_end_with_the_sequence(seq_len: int) -> None:
    [axes] = drawn("A", seq_len, "causal()").axes
    assert axes.get_xlim() == (0, seq_len)
    assert axes.get_ylim() == (seq_len, 0)


def test_axes_end_with_the_last_key_and_query_where_these_differ() -> None:
    shape = Shape(30, 7, q_offset=5)
    [axes] = png._drawn([("A", np.zeros((15, 4)), shape, 2)], "").axes
    assert axes.get_xlim() == (0, 7)
    assert axes.get_ylim() == (35, 5)
    assert all(tick == int(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize("title", ["causal()", f"per_head([{', '.join(['sliding_window'] * 9)}])", "t(name='$_$')"])
def test_texts_lie_inside_the_picture(title: str) -> None:
    made = drawn(" ∨ ".join(["(j ≤ i ∧ h mod 3 = 0)"] * 30), 64, title)
    made.canvas.draw()
    [axes] = made.axes
    texts = [made._suptitle, axes.title, axes.xaxis.label, axes.yaxis.label]
    for text in texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= made.bbox.width, text.get_text()
        assert 0 <= box.y0 <= box.y1 <= made.bbox.height, text.get_text()
    assert not made._suptitle.get_window_extent().overlaps(axes.title.get_window_extent())


def test_lines_end_between_arguments_and_clauses_and_nothing_is_lost() -> None:
    for _, declared in catalog.factories():
        pattern = drawn_example(declared, {}).pattern
        for text, width in product((repr(pattern), *(connectivity(each, 1) for each in pattern.subsets)), (24, 42, 50)):
            lines = figure.wrapped(text, width, 100).split("\n")
            assert "".join(text.split()) == "".join("".join(lines).split())
            assert all(len(line) <= width and line.count("'") % 2 == 0 for line in lines), lines


def test_lines_end_at_the_outermost_clauses() -> None:
    assert figure.wrapped("p(a=Table('a b', shape=(3, 4)), b=2)", 30, 9) == "p(\na=Table('a b', shape=(3, 4)),\nb=2)"
    assert figure.wrapped("{ j : (j ≤ i ∧ 2 ≤ j) ∨ i < 9 }", 22, 9) == "{ j : (j ≤ i ∧ 2 ≤ j)\n∨ i < 9 }"


def test_long_texts_end_in_an_ellipsis() -> None:
    assert figure.wrapped("one two three four", 9, 3) == "one two\nthree\nfour"
    assert figure.wrapped("one two three four", 9, 2) == "one two\nthree …"
