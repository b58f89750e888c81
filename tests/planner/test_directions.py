"""Directions and their short names."""

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
def test_short_names_stand_for_directions(short: str, found: tuple[str, ...]) -> None:
    assert ways(BY_SHORT_NAME[short]) == found


@pytest.mark.parametrize("name", ["both", "fwd", "sideways"])
def test_unknown_directions_are_refused(name: str) -> None:
    with pytest.raises(attncc.ConfigError, match=name):
        check_direction(name)
