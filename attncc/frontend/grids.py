"""Grids: positions as coordinates, the digits of a number in a mixed radix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from attncc.errors import ParameterError
from attncc.frontend.language import Index, applied, index_of
from attncc.ir.fitting import fitting


def grid(
    position: Index | int, shape: Sequence[int], *, length: Index | int | None = None, beside: int = 0
) -> tuple[Index, ...]:
    """Return the coordinates of a position on a grid, one for each axis; the last axis runs fastest.

    `row, col = attncc.grid(i, (64, 96))` are `i // 96` and `i % 96`. These are the digits of the position in the mixed
    radix of the shape. The first coordinate isn't limited: it is below 0 before the grid and at least shape[0] beyond.
    For tokens in front of the grid, take the coordinates of `i - tokens`.

    Args:
        position: An index expression, or an integer on the grid.
        shape: The length of each axis, positive integers.
        length: What the grid has to multiply to, n_q or n_k. By default any length will do.
        beside: The number of tokens beside the grid that `length` counts, too.

    Raises:
        ParameterError: For a shape with other entries or none, or an integer position that isn't on the grid.
        ShapeError: When a pattern is planned for another `length`.
    """
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ParameterError(
            f"grid(..., shape={shape!r}).",
            rule="The shape of a grid is the length of each axis, at least one positive integer.",
            fix="For 64 rows of 96 tokens write attncc.grid(i, (64, 96)).",
        )
    if type(position) is int and not 0 <= position < math.prod(sizes):
        raise ParameterError(
            f"grid(position={position}, shape={sizes}).",
            rule=f"Positions on this grid are 0 to {math.prod(sizes) - 1}.",
            fix="Take a position on the grid, or a larger grid.",
        )
    rest, digits = index_of(position), []
    if length is not None:
        rest = rest // applied(partial(fitting, tokens=math.prod(sizes) + beside), length)
    for size in reversed(sizes[1:]):
        digits.append(rest % size)
        rest = rest // size
    return rest, *reversed(digits)
