"""Misses: the entries nearest to a key, and how their keys and environments differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.configs.entry import Entry
from attncc.configs.environment import Environment
from attncc.configs.key import SAME, Key
from attncc.configs.layers import layers
from attncc.configs.result import described


@dataclass(frozen=True)
class Miss:
    """An entry that isn't a key's: (wanted, there) of the fields of key and environment that differ."""

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
            "key_differences": described(self.key),
            "environment_differences": described(self.environment),
        }


def why_miss(key: Key, environment: Environment | None = None, most: int = 3) -> list[Miss]:
    """Return the entries nearest to a key, of all layers and environments, and how they differ from it."""
    here = environment or Environment.of(key.backend, key.target)
    pairs = [(entry, layer) for layer in layers() for entry in layer.store.entries()]
    pairs.sort(key=lambda pair: _strangeness(key, here, pair[0]))
    return [
        Miss(entry, layer.name, key.differences(entry.key), here.differences(entry.environment))
        for entry, layer in pairs[:most]
    ]


def _strangeness(key: Key, environment: Environment, entry: Entry) -> tuple[int, float, int]:
    differences = key.differences(entry.key)
    distance = key.distance(entry.key)
    apart = float(len(differences)) if distance is None else distance
    return sum(name in SAME for name in differences), apart, len(environment.differences(entry.environment))


def _said(value: object) -> object:
    """Return a field's value in words: a key has no score, an environment lacks a package."""
    return "none" if value in ("", None) else value
