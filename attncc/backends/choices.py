"""Choices that a backend leaves open: frozen dataclasses, changed by mappings from dotted names to values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from attncc.errors import ConfigError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Check = Callable[[str, object], None]
#: What a choice may be.
Value = int | str | bool


def names(config: DataclassInstance, prefix: str = "") -> list[str]:
    """Return the names of all choices of a configuration: "chunk", or "forward.block_m" of a part."""
    found = []
    for field in fields(config):
        value = getattr(config, field.name)
        name = prefix + field.name
        found += names(value, f"{name}.") if is_dataclass(value) and not isinstance(value, type) else [name]
    return found


def values(config: Any) -> dict[str, Value]:
    """Return the value of each choice of a configuration, by name."""
    return {name: reduce(getattr, name.split("."), config) for name in names(config)}


def changed(config: Config, values: Mapping[str, object], backend: str, check: Check) -> Config:
    """Return the configuration with `values` in place of its own.

    `check` gets each name and value, and raises ConfigError for a bad one; so does an unknown name.
    """
    if not values:
        return config
    known = names(config)
    found = config
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"Unknown config key {name!r}.",
                rule=f"The {backend} backend's keys are {', '.join(known)}.",
                fix=nearest(name, known),
            )
        check(name, value)
        found = _with(found, name, value)
    return found


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raise ConfigError with a choice's rule unless it holds."""
    if not holds:
        raise ConfigError(f"config {name}={value!r}.", rule=rule, fix="Change it, or leave it out for its default.")


def is_integer(value: object, least: int) -> bool:
    """Return whether a value is an integer of at least `least`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_power(value: object, least: int) -> bool:
    """Return whether a value is a power of two of at least `least`."""
    return isinstance(value, int) and is_integer(value, least) and not value & (value - 1)


def _with(config: Config, name: str, value: object) -> Config:
    owner, dot, rest = name.partition(".")
    return replace(config, **{owner: _with(getattr(config, owner), rest, value) if dot else value})
