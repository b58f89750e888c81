"""Bands: limits at queries, and the first key that reaches one."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch

import attncc
from attncc.ir.evaluate import evaluate
from attncc.ir.symbols import I, J
from attncc.planner.axis import Axis
from attncc.planner.bands import first_at_least, inverse, key_values, limits, rises
from attncc.planner.relation import Band
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem


@pytest.mark.parametrize("key", [J, 3 * J, J // 4, 2 * (J // 4) + 5, (3 * J - 7) // 5, sympy.Min(J, 20)])
@pytest.mark.parametrize("axis", [Axis(30), Axis(30, np.arange(1, 30, 3))])
def test_searches_find_the_first_key_at_a_limit(key, axis: Axis) -> None:
    band = Band(key, I - 5, None)
    lower, upper = limits(band, np.arange(40))
    assert upper is None
    assert lower is not None
    values = evaluate(key, {J: axis.places})
    known = key_values(band, axis)
    assert (known is None) == (axis.order is None and not key.has(sympy.Min))
    found = first_at_least(lower, band, known, axis)
    np.testing.assert_array_equal(np.minimum(found, axis.size), np.searchsorted(values, lower))


def test_inverses_of_integers_are_those_of_arrays() -> None:
    for key in (J, 3 * J, J // 4, 2 * (J // 4) + 5, (3 * J - 7) // 5):
        first = inverse(key)
        assert first is not None
        limits = np.arange(-20, 40)
        assert [first(int(limit)) for limit in limits] == first(limits).tolist()
    assert inverse(-J) is inverse(J**2) is inverse(sympy.Min(J, 20)) is None


def test_limits_beyond_every_key_do_not_overflow() -> None:
    limit = np.array([-(2**62), 2**62])
    found = first_at_least(limit, Band(J // 64, None, None), None, Axis(1000))
    assert found[0] == 0
    assert found[1] >= 1000


def test_rising_bands_are_recognised() -> None:
    assert rises((Band(J, I - 5, I), Band(J, None, 2 * I // 3)))
    assert rises((Band(J, None, 7 * I**0),))
    assert not rises((Band(J, I - 5, 10 - I),))


@attncc.pattern
def below(i, j, *, least: attncc.Table):
    return (j <= i) | (i < least[j + 1])


def test_limits_of_several_tiles_are_sought_at_once() -> None:
    """Items of rows (T, L) ask for their limits together; a table's values are ascending, and the limits have runs."""
    least = np.repeat(np.arange(33), 4)[:130]
    pattern = below(least=least)
    mask = attncc.dense_mask(pattern, 128)
    problem = Problem.drawn(128, 128, heads=1, kv_heads=1, dtype=torch.float32)
    check_attention(pattern, mask, problem)
    check_plan(attncc.plan(pattern, 128, tile=(16, 16)), mask.numpy())
