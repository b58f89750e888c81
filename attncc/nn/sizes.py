"""Sizes of layers, which are positive integers."""

from __future__ import annotations

from attncc.errors import ParameterError


def check_positive(**sizes: object) -> None:
    """Raise ParameterError that names the first size that isn't an integer of at least 1."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ParameterError(
                f"{name}={value!r}.",
                rule=f"{name} is an integer of at least 1.",
                fix="Convert it to an int, and use 1 or more.",
            )
