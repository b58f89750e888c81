"""Cells of pictures: empty and full hold for every position."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.planner.shape import Shape
from attncc.planner.tiles import EMPTY, FULL
from attncc.visualization.connectivity import grid

PATTERNS = [
    attncc.load("strided", l=8),
    attncc.load("fixed", l=16, c=4),
    attncc.load("dilated_window", window=3, dilation=2),
    attncc.load("document", ids=[0] * 17 + [1] * 34),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
@pytest.mark.parametrize("most", [7, 16, 64])
def test_cells_agree_with_the_dense_mask(pattern: attncc.Pattern, most: int) -> None:
    length = 51
    found = grid(pattern, Shape.of(length), most)
    assert found.side & (found.side - 1) == 0
    assert max(found.cells[0].shape) <= most
    for subset, cells in zip(pattern.subsets, found.cells, strict=True):
        mask = attncc.dense_mask(attncc.Pattern([subset], "one"), length).numpy()
        for (row, col), label in np.ndenumerate(cells):
            cell = mask[row * found.side : (row + 1) * found.side, col * found.side : (col + 1) * found.side]
            assert label != EMPTY or not cell.any()
            assert label != FULL or cell.all()
            assert found.side > 1 or label == (FULL if cell.all() else EMPTY)


def test_keys_may_be_fewer_than_queries() -> None:
    window = attncc.load("sliding_window", window=5)
    found = grid(window, Shape(40, 11), 64)
    assert np.array_equal(found.union == FULL, attncc.dense_mask(window, 40, 11).numpy())


def test_the_union_is_the_maximum_of_its_subsets() -> None:
    found = grid(attncc.load("strided", l=8), Shape.of(64), 64)
    assert np.array_equal(found.union, np.maximum(*found.cells))


def test_the_chosen_head_is_drawn() -> None:
    pattern = attncc.per_head([attncc.load("causal"), attncc.load("full")])
    first, second = (grid(pattern, Shape.of(16), 16, head=head).union for head in (0, 1))
    assert (first == FULL).sum() == 16 * 17 // 2
    assert (second == FULL).all()
