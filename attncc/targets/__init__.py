"""Facts about the devices that plans are made for, one TOML file a device."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

from attncc.errors import ConfigError, nearest


@dataclass(frozen=True)
class Target:
    """What the cost model knows of a device; rates are per second for the whole device, times in seconds.

    flops: multiply-adds count as two, dense attention on long runs; bandwidth: bytes moved to and from memory;
    elements: scores a second that a predicate is evaluated for; masked: factor on a tile that needs a mask;
    launch: fixed time of a pass.
    """

    name: str
    flops: float
    bandwidth: float
    elements: float
    masked: float
    launch: float


def names() -> list[str]:
    """Return the names of the shipped targets."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


@cache
def target(name: str) -> Target:
    """Return the facts about a device; raises ConfigError for an unknown one."""
    if name not in names():
        raise ConfigError(
            f"Unknown target {name!r}.",
            rule="A target is a file in attncc/targets.",
            fix=nearest(name, names()),
        )
    facts = tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))
    return Target(
        name=name,
        **{field.name: float(facts[field.name]) for field in fields(Target) if field.name != "name"},
    )
