"""Directions: their short names, and what both together stand for."""

from __future__ import annotations

import pytest

import attncc
from attncc.planner.directions import BOTH, BY_SHORT_NAME, DIRECTIONS, SHORT_NAMES, check_direction, ways


def test_each_direction_has_one_short_name() -> None:
    assert set(BY_SHORT_NAME.values()) == {*DIRECTIONS, BOTH}
    assert {short: SHORT_NAMES[BY_SHORT_NAME[short]] for short in BY_SHORT_NAME} == {
        short: short for short in BY_SHORT_NAME
    }


@pytest.mark.parametrize(("short", "found"), [("fwd", ("forward",)), ("bwd", ("backward",)), ("both", DIRECTIONS)])
def test_what_a_short_name_stands_for(short: str, found: tuple[str, ...]) -> None:
    assert ways(BY_SHORT_NAME[short]) == found


@pytest.mark.parametrize("name", ["both", "fwd", "sideways"])
def test_one_direction_is_forward_or_backward(name: str) -> None:
    with pytest.raises(attncc.ConfigError, match=name):
        check_direction(name)
