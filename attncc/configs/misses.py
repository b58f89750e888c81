"""Misses: the entries nearest to a key, and how their keys and environments differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.configs.entry import Entry
from attncc.configs.environment import Environment
from attncc.configs.key import SAME, Key, length_of
from attncc.configs.layers import layers
from attncc.configs.result import described

#: What is said of values that are hashes.
_OTHER = {
    "pattern": "another pattern",
    "score": "another score",
    "sources": "other code of attncc",
    "facts": "other facts of the target",
}
#: What is said of the others.
_WORDS = {
    "density": "{} of all pairs",
    "direction": "the {} direction",
    "backend": "the backend {}",
    "target": "the target {}",
    "dtype": "{}",
    "head_dim": "heads of {}",
    "value_dim": "value heads of {}",
    "heads": "{} heads",
    "kv_heads": "{} key heads",
    "batch": "{} batch entries",
    "q_len": "{} queries",
    "kv_len": "{} keys",
}


@dataclass(frozen=True)
class Miss:
    """An entry that isn't a key's: (wanted, there) of the fields of key and environment that differ."""

    entry: Entry
    layer: str
    key: Mapping[str, tuple[object, object]]
    environment: Mapping[str, tuple[object, object]]

    def __str__(self) -> str:
        """What the entry was tuned for, and what the call has in place of that, in words."""
        differing = {**self.key, **self.environment}.items()
        said = "; ".join(_said(name, wanted, there) for name, (wanted, there) in differing)
        return f"{self.entry.pattern} in {self.layer} was tuned for {said or 'the same'}"

    def describe(self) -> dict[str, object]:
        """Return the miss as JSON-able data."""
        return {
            "pattern": self.entry.pattern,
            "digest": self.entry.key.digest,
            "layer": self.layer,
            "said": str(self),
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


def _said(name: str, wanted: object, there: object) -> str:
    """Return how a field differs, in words: "heads of 64, not heads of 512"."""
    if name in _OTHER and wanted and there:
        return _OTHER[name]
    return f"{_phrase(name, there)}, not {_phrase(name, wanted)}"


def _phrase(name: str, value: object) -> str:
    """Return a field's value in words; a call may have no score, and an environment lack a package."""
    _, dot, part = name.partition(".")
    if dot:
        return f"no {part}" if value is None else f"{part} {value}"
    if name == "score":
        return "a score" if value else "none"
    if name in _OTHER or value is None:
        return f"a known {name}" if value is not None else f"no {name}"
    if name in ("q_len", "kv_len"):
        value = length_of(int(str(value)))
    if name == "density":
        value = f"{2.0 ** int(str(value)):.3%}"
    return _WORDS[name].format(value)
