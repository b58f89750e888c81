"""Configurations as text, which is what operators take: encoded once a call, decoded once a process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from attncc._util.tracing import constant, plain, shown
from attncc.errors import ConfigError
from attncc.planner.options import PlanOptions, separated

Config = Mapping[str, object]
_EXAMPLE = """For example {"forward.plan": "fused"}."""


@dataclass(frozen=True)
class DecodedConfig:
    """A configuration for one direction.

    Equal ones have equal texts: values alone don't tell 1 from True.

    Attributes:
        text: The whole configuration, as `encoded` gives it.
        planner: The planner's options for the direction.
        backend: The backend's values.
    """

    text: str
    planner: PlanOptions
    backend: Config = field(compare=False)


def encoded(config: Config | None) -> str:
    """Return a configuration as text, "" for None; raises ConfigError for what isn't a mapping to plain values."""
    if config is None:
        return ""
    if not isinstance(config, Mapping):
        raise ConfigError(f"config={shown(config)}.", rule="It is a mapping from names to values.", fix=_EXAMPLE)
    names = tuple(config)
    return _encoded(names, *(plain(config[name]) for name in names))


@constant
def _encoded(names: tuple[str, ...], *values: object) -> str:
    config = dict(zip(names, values, strict=True))
    try:
        return json.dumps(config, sort_keys=True)
    except TypeError as error:
        rule = "Its values are numbers, texts, True or False."
        raise ConfigError(f"config={config!r}: {error}.", rule=rule, fix=_EXAMPLE) from None


@lru_cache(maxsize=1024)
def decoded(text: str, direction: str) -> DecodedConfig:
    """Return a configuration for a direction; raises ConfigError for options that the planner doesn't have."""
    return DecodedConfig(text, *separated(json.loads(text), direction))
