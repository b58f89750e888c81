"""Directions: the forward and the backward of attention, the two together, and what people call them."""

from __future__ import annotations

from collections.abc import Mapping

from attncc.errors import check_known

FORWARD, BACKWARD = DIRECTIONS = ("forward", "backward")
#: One thing that serves a forward and its backward.
BOTH = "both"
#: By the short names of the command line and of the autotuner.
BY_SHORT_NAME: Mapping[str, str] = {"fwd": FORWARD, "bwd": BACKWARD, "both": BOTH}
SHORT_NAMES: Mapping[str, str] = {direction: short for short, direction in BY_SHORT_NAME.items()}


def ways(direction: str) -> tuple[str, ...]:
    """Return the directions that one of DIRECTIONS, or BOTH, stands for."""
    return DIRECTIONS if direction == BOTH else (direction,)


def check_direction(direction: str) -> None:
    """Raise ConfigError unless it is one of DIRECTIONS."""
    check_known("direction", direction, DIRECTIONS)
