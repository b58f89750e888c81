"""Arithmetic: directions of expressions, sums split between two symbols, and floors as quotients."""

from __future__ import annotations

import itertools

import pytest
import sympy

from attncc.ir.arithmetic import direction, floor_quotient, split_sum, whole_floors
from attncc.ir.symbols import H, I, J

WHOLE_FLOORS = [
    (I - 6 * sympy.floor(I / 6), 1),
    (I - 12 * sympy.floor((2 * I + J) / 6), 1),
    (J - 4 * sympy.floor(I / 6), 0),
    (J - 6 * sympy.floor(I / 6) * H, 0),
    (3 * sympy.floor(J / 3) - 6 * sympy.floor(I / 2), 2),
]
DIRECTIONS = [
    (J + 3, 1),
    (-2 * J, -1),
    (I + 4, 0),
    (J - sympy.floor(J / 4), None),
    (sympy.floor((3 * J + 1) / 4), 1),
    (-sympy.floor(J / 4) - J, -1),
    (sympy.Min(J, 8), 1),
    (sympy.Max(-J, J - 5), None),
    (sympy.Mod(J, 4), None),
    (H * J, None),
]


@pytest.mark.parametrize(("expr", "found"), DIRECTIONS, ids=str)
def test_directions_agree_with_enumeration(expr: sympy.Expr, found: int | None) -> None:
    assert direction(expr, J) == found
    values = [expr.subs({I: 5, H: 2, J: j}) for j in range(30)]
    if found is not None:
        assert all((b - a) * found >= (0 if found else b - a) for a, b in itertools.pairwise(values))


def test_split_sums_put_constants_on_the_left() -> None:
    assert split_sum(2 * I - 3 * J + H + 7, I, J) == (2 * I + H + 7, -3 * J)
    assert split_sum(sympy.Integer(4), I, J) == (4, 0)
    assert split_sum(I * J + I, I, J) is None


def test_floors_become_quotients_of_integers() -> None:
    numerator, denominator = floor_quotient(sympy.floor((I / 2 + J) / 3))
    assert (numerator, denominator) == (I + 2 * J, 6)


@pytest.mark.parametrize(("expr", "remainders"), WHOLE_FLOORS, ids=str)
def test_whole_floors_are_what_lacks_a_remainder(expr: sympy.Expr, remainders: int) -> None:
    found = whole_floors(expr)
    assert len(found.atoms(sympy.Mod)) == remainders
    for i, j, h in itertools.product(range(-7, 14, 2), range(-5, 12, 3), (0, 3)):
        values = {I: i, J: j, H: h}
        assert found.subs(values) == expr.subs(values)
