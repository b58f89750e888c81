"""Shapes: defaults and invalid sizes."""

from __future__ import annotations

import pytest

from attncc.errors import ShapeError
from attncc.ir.symbols import B, H, I
from attncc.planner.shape import Shape


def test_kv_len_defaults_to_the_end_of_the_queries() -> None:
    assert Shape.of(8, q_offset=5) == Shape(8, 13, 5)
    assert Shape.of(8, 3, 5, 2, 4) == Shape(8, 3, 5, 2, 4)


def test_shapes_keep_only_the_dimensions_depended_on() -> None:
    shape = Shape(8, 8, 0, 4, 2)
    assert shape.narrowed({I}) == Shape(8, 8)
    assert shape.narrowed({I, H}) == Shape(8, 8, 0, 4, 1)
    assert shape.narrowed({B, H}) == shape


@pytest.mark.parametrize("sizes", [(-1, 8), (8, 2.5), (8, True), (1 << 31, 8), (1 << 30, 8, 1 << 30), (8, 8, 0, 0)])
def test_invalid_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        Shape(*sizes)
