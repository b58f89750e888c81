"""Look-up: from a key to a configuration, and why it is that one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from attncc.configs.entry import Entry
from attncc.configs.environment import Environment
from attncc.configs.key import SAME, Key
from attncc.configs.layers import Layer, layers
from attncc.errors import ConfigError, nearest

#: How configurations are looked for: not at all, exact ones, also near ones, or exact ones or an error.
SETTING = "ATTNCC_CACHE"
OFF, STRICT, NEAREST, ASSERT = "off", "strict", "nearest", "assert"
SETTINGS = (OFF, STRICT, NEAREST, ASSERT)
#: Octaves up to which another key's configuration is better than the default.
REACH = 2.0


@dataclass(frozen=True)
class Found:
    """A configuration, and where it is from.

    source: "exact", "nearest" (another key's, `distance` octaves away), "shipped" (exact, with a plugin or attncc) or
    "default". layer: which place it was found in. differences: (here, there) of each field in which the environment
    that it was tuned in differs.
    """

    config: Mapping[str, object] = field(default_factory=dict)
    source: str = "default"
    entry: Entry | None = None
    distance: float | None = None
    layer: str = ""
    differences: Mapping[str, tuple[object, object]] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The configuration as attncc.runtime.executables.encoded gives it, "" for the default one."""
        return json.dumps(dict(self.config), sort_keys=True) if self.config else ""

    def __str__(self) -> str:
        if self.entry is None:
            return "The default configuration: none was found."
        gain = f", {self.entry.speedup:.2f} x the default's speed" if self.entry.speedup else ""
        away = f", tuned {self.distance:.2f} octaves away" if self.source == "nearest" else ""
        other = f"; in another environment ({', '.join(self.differences)})" if self.differences else ""
        what = {"exact": "An exact", "shipped": "A shipped", "nearest": "The nearest"}[self.source]
        return f"{what} configuration, {self.entry.mode}{gain}{away}, from {self.layer}{other}."

    def describe(self) -> dict[str, object]:
        """Return what was found as JSON-able data."""
        entry = self.entry
        return {
            "source": self.source,
            "config": dict(self.config),
            "distance": self.distance,
            "layer": self.layer or None,
            "mode": entry and entry.mode,
            "speedup": entry and entry.speedup,
            "made": entry and entry.made,
            "tuned_for": entry and dict(entry.about),
            "environment_differences": _pairs(self.differences),
        }


@dataclass(frozen=True)
class Miss:
    """An entry that a key didn't find: (wanted, there) of the fields of key and environment that differ."""

    entry: Entry
    layer: str
    key: Mapping[str, tuple[object, object]]
    environment: Mapping[str, tuple[object, object]]

    def __str__(self) -> str:
        parts = [
            f"{name} {_said(wanted)} (there: {_said(there)})"
            for name, (wanted, there) in {**self.key, **self.environment}.items()
        ]
        return f"{self.entry.pattern} in {self.layer} differs in {', '.join(parts) or 'nothing'}"

    def describe(self) -> dict[str, object]:
        """Return the miss as JSON-able data."""
        return {
            "pattern": self.entry.pattern,
            "digest": self.entry.key.digest,
            "layer": self.layer,
            "key_differences": _pairs(self.key),
            "environment_differences": _pairs(self.environment),
        }


def setting() -> str:
    """Return ATTNCC_CACHE, "nearest" where it isn't set; raises ConfigError for another value."""
    found = os.environ.get(SETTING) or NEAREST
    if found not in SETTINGS:
        raise ConfigError(
            f"{SETTING}={found!r}.", rule=f"It is one of {', '.join(SETTINGS)}.", fix=nearest(found, SETTINGS)
        )
    return found


def find(key: Key, environment: Environment | None = None) -> Found:
    """Return the configuration of a key, as ATTNCC_CACHE says; raises ConfigError where that asserts one in vain."""
    how = setting()
    if how == OFF:
        return Found()
    here = environment or Environment.of(key.backend, key.target)
    found = best_known(key, here) if how == NEAREST else _exact(key, here, layers())
    if found is None and how == ASSERT:
        raise ConfigError(
            f"There is no tuned configuration for {key.direction} {key.digest} on {key.target}.",
            rule=f"{SETTING}={ASSERT} forbids every other one. {_reasons(key, here)}",
            fix=f"Tune it, or import one (attncc cache import), or set {SETTING}={NEAREST}.",
        )
    return found or Found()


def best_known(key: Key, environment: Environment) -> Found | None:
    """Return what the layers have for a key, or near it, whatever ATTNCC_CACHE says; the tuner begins with it."""
    places = layers()
    return _exact(key, environment, places) or _nearest(key, environment, places)


def why_miss(key: Key, environment: Environment | None = None, most: int = 3) -> list[Miss]:
    """Return the entries that come nearest to a key, of all layers and environments, and how they differ from it."""
    here = environment or Environment.of(key.backend, key.target)
    pairs = [(entry, layer) for layer in layers() for entry in layer.store.entries()]
    pairs.sort(key=lambda pair: _strangeness(key, here, pair[0]))
    return [
        Miss(entry, layer.name, key.differences(entry.key), here.differences(entry.environment))
        for entry, layer in pairs[:most]
    ]


def _exact(key: Key, environment: Environment, places: tuple[Layer, ...]) -> Found | None:
    for layer in places:
        entry = layer.exact(environment, key)
        if entry is not None:
            source = "shipped" if layer.kind == "shipped" else "exact"
            return Found(entry.config, source, entry, 0.0, layer.name, environment.differences(entry.environment))
    return None


def _nearest(key: Key, environment: Environment, places: tuple[Layer, ...]) -> Found | None:
    """Return the least distant entry within REACH; of several a measured one, of this environment, the first."""
    best: tuple[tuple[float, bool, bool], Entry, Layer] | None = None
    for layer in places:
        for entry in layer.entries(environment):
            distance = key.distance(entry.key)
            if distance is None or distance > REACH:
                continue
            rank = (distance, entry.mode != "measured", entry.environment != environment)
            if best is None or rank < best[0]:
                best = rank, entry, layer
    if best is None:
        return None
    (distance, *_), entry, layer = best
    return Found(entry.config, "nearest", entry, distance, layer.name, environment.differences(entry.environment))


def _strangeness(key: Key, environment: Environment, entry: Entry) -> tuple[int, float, int]:
    differences = key.differences(entry.key)
    distance = key.distance(entry.key)
    apart = float(len(differences)) if distance is None else distance
    return sum(name in SAME for name in differences), apart, len(environment.differences(entry.environment))


def _reasons(key: Key, environment: Environment) -> str:
    misses = why_miss(key, environment, most=1)
    return f"The nearest, {misses[0]}." if misses else "No layer has any."


def _said(value: object) -> object:
    """Return a field's value in words: a key has no score, an environment lacks a package."""
    return "none" if value in ("", None) else value


def _pairs(differences: Mapping[str, tuple[object, object]]) -> dict[str, list[object]]:
    return {name: list(pair) for name, pair in differences.items()}
