"""Shapes: what is meant where something is left out, and what can't be."""

from __future__ import annotations

import pytest

from attncc.errors import ShapeError
from attncc.ir.symbols import B, H, I
from attncc.planner.shape import Shape


def test_keys_end_where_the_queries_do_unless_said_otherwise() -> None:
    assert Shape.of(8, q_offset=5) == Shape(8, 13, 5)
    assert Shape.of(8, 3, 5, 2, 4) == Shape(8, 3, 5, 2, 4)


def test_heads_and_batch_entries_count_where_something_depends_on_them() -> None:
    shape = Shape(8, 8, 0, 4, 2)
    assert shape.narrowed({I}) == Shape(8, 8)
    assert shape.narrowed({I, H}) == Shape(8, 8, 0, 4, 1)
    assert shape.narrowed({B, H}) == shape


@pytest.mark.parametrize("sizes", [(-1, 8), (8, 2.5), (8, True), (1 << 31, 8), (1 << 30, 8, 1 << 30), (8, 8, 0, 0)])
def test_what_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        Shape(*sizes)
