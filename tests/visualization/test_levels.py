"""Levels of detail: every window of every level agrees with the dense mask, and the last one has single pairs."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.planner.shape import Shape
from attncc.planner.tiles import EMPTY, FULL
from attncc.visualization import levels as levels_of_detail
from attncc.visualization.levels import levels

PATTERNS = [
    attncc.load("strided", l=24),
    attncc.load("document", ids=np.arange(333) // 100),
    attncc.load("dilated_window", window=5, dilation=7),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_windows_agree_with_the_dense_mask(pattern: attncc.Pattern, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels_of_detail, "CELLS", 16)
    found = levels(pattern, Shape.of(333))
    assert [level.grid.side for level in found] == [32, 4, 1]
    for level in found:
        row, column = level.first
        for subset, cells in zip(pattern.subsets, level.grid.cells, strict=True):
            mask = attncc.dense_mask(attncc.Pattern([subset], "one"), 333).numpy()[row:, column:]
            for (r, c), label in np.ndenumerate(cells):
                side = level.grid.side
                cell = mask[r * side : (r + 1) * side, c * side : (c + 1) * side]
                assert label != EMPTY or not cell.any()
                assert label != FULL or cell.all()
                assert side > 1 or label == (FULL if cell.all() else EMPTY)


def test_short_patterns_have_one_level() -> None:
    assert len(levels(attncc.load("causal"), Shape.of(64))) == 1
