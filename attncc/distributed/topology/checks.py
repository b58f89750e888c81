"""Checks of what topologies say: each failure is a TopologyError that says where, quotes the value, gives the rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from attncc.errors import TopologyError, nearest

_IN_RANGE = "Write one in that range."


def fail(where: str, quoted: str, rule: str, fix: str) -> NoReturn:
    """Raise a TopologyError."""
    raise TopologyError(f"In {where}: {quoted}.", rule=rule, fix=fix)


def unknown_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse keys that mean nothing."""
    known = tuple(known)
    for key in table:
        if key not in known:
            fail(where, f"unknown key {key!r}", f"Its keys are {', '.join(known)}.", nearest(key, known))


def number(
    where: str, table: Mapping[str, Any], key: str, *, least: float, most: float, default: float | None = None
) -> float:
    """Return a number within its bounds, both included; without a default it must be there."""
    value = table.get(key, default)
    if value is None:
        fail(where, f"no {key}", f"{key} is a number.", f"Add {key} = ... there.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        fail(where, f"{key} = {value!r}", f"{key} is a number from {least:g} to {most:g}.", _IN_RANGE)
    return float(value)


def count(where: str, key: str, value: object, most: int) -> int:
    """Return a whole number from 1 to `most`."""
    if type(value) is not int or not 1 <= value <= most:
        fail(where, f"{key} = {value!r}", f"{key} is a whole number from 1 to {most}.", _IN_RANGE)
    return value


def choice(where: str, table: Mapping[str, Any], key: str, known: tuple[str, ...], default: str) -> str:
    """Return one of the known names."""
    value = table.get(key, default)
    if value not in known:
        fail(where, f"{key} = {value!r}", f"{key} is one of {', '.join(known)}.", nearest(value, known))
    return str(value)


def text(where: str, key: str, value: object) -> str:
    """Return a text that isn't empty."""
    if not isinstance(value, str) or not value:
        fail(where, f"{key} = {value!r}", f"{key} is a text.", f'Write {key} = "...".')
    return value


def table(where: str, value: object) -> dict[str, Any]:
    """Return a table."""
    if not isinstance(value, dict):
        fail(where, repr(value), "This is a table.", "Write { key = value, ... }, or a section.")
    return value


def array(where: str, value: object) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        fail(where, repr(value), "This is a list.", "Write [...], or sections with [[...]].")
    return value
