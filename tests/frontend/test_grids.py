"""Grids: coordinates of positions, on the grid and beside it, and the lengths that they multiply to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attncc
from attncc.errors import ParameterError, ShapeError
from attncc.frontend.language import Index
from attncc.ir.evaluate import evaluate
from attncc.ir.fitting import fitting, wanted
from attncc.ir.symbols import NK, J


def coordinates(shape: tuple[int, ...], positions: np.ndarray, before: int = 0) -> list[np.ndarray]:
    digits = attncc.grid(Index.of(J) - before, shape)
    exprs = [expr for digit in digits for _, expr in digit.cases]
    return [np.broadcast_to(evaluate(expr, {J: positions}), positions.shape) for expr in exprs]


@pytest.mark.parametrize("shape", [(12,), (3, 5), (4, 4), (2, 3, 4), (5, 1, 3), (2, 2, 2, 3)])
def test_coordinates_are_those_of_an_array(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    for before in (0, 7):
        found = coordinates(shape, np.arange(size) + before, before)
        assert np.array_equal(found, np.unravel_index(np.arange(size), shape))


def test_the_first_coordinate_tells_what_is_beside_the_grid() -> None:
    row, col = coordinates((3, 5), np.array([0, 1, 2, 16, 17, 18]), before=2)
    assert row.tolist() == [-1, -1, 0, 2, 3, 3]
    assert col.tolist() == [3, 4, 0, 4, 0, 1]


@pytest.mark.parametrize("shape", [(), 64, (0, 4), (4, -1), (4.0, 4), (True, 4), None])
def test_a_shape_is_positive_integers(shape: Any) -> None:
    with pytest.raises(ParameterError, match="shape="):
        attncc.grid(Index.of(J), shape)


@pytest.mark.parametrize("position", [-1, 15, 400])
def test_a_number_lies_on_the_grid(position: int) -> None:
    with pytest.raises(ParameterError, match=f"position={position}.*\n.*0 to 14"):
        attncc.grid(position, (3, 5))
    assert [str(digit.cases[0][1]) for digit in attncc.grid(14, (3, 5))] == ["2", "4"]


@attncc.pattern
def rows(i, j, n_k, *, height: int, width: int, text: int = 0):
    query, key = (attncc.grid(x, (height, width), length=n_k, beside=text) for x in (i, j))
    return query[0] == key[0]


def test_a_pattern_is_planned_for_the_length_that_its_grid_has() -> None:
    assert attncc.plan(rows(height=4, width=6), 24).nnz == 4 * 6 * 6
    assert attncc.plan(rows(height=4, width=6, text=2), 26).nnz == 4 * 6 * 6 + 2 * 2
    assert attncc.plan(rows(height=4, width=6), 10, 24, q_offset=3).nnz == 60
    for n in (1, 23, 25, 26):
        for use in (attncc.plan, attncc.dense_mask):
            with pytest.raises(ShapeError, match=rf"(?s){n} keys for rows\(height=4, width=6.*multiply to 24"):
                use(rows(height=4, width=6), n)


def test_other_patterns_joined_to_it_keep_the_length() -> None:
    joined = (rows(height=4, width=6) | attncc.load("sliding_window", window=3)).causal()
    assert attncc.plan(joined, 24).nnz
    with pytest.raises(ShapeError, match="multiply to 24"):
        attncc.plan(joined, 25)


@pytest.mark.parametrize("tokens", [1, 24, 4096])
def test_a_fitting_divisor_tells_its_length(tokens: int) -> None:
    assert wanted(fitting(NK, tokens)) == (NK, tokens)
    assert wanted(1 - J) is None
    assert wanted(fitting(2 * NK, tokens)) is None
