"""Entries: one tuned configuration, with its key, its environment and its measurements."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from attncc._util.storage import read
from attncc.configs import validation
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.planner.options import separated
from attncc.version import __version__

FORMAT = 1
#: Bytes of an entry's file; one of a thousand samples has some 30 KiB.
MAX_BYTES = 1 << 20
MODES = ("measured", "modelled")
CONTESTANTS = ("best", "default", "dense")
MAX_SAMPLES = 10_000
MAX_REPR = 1000
#: Values of a configuration are below this: sizes of tiles and chunks.
MAX_VALUE = 1 << 31
_encoded = json.JSONEncoder(allow_nan=False).encode
_CONFIG_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True)
class Entry:
    """A configuration that won. Raises ConfigError for a value that no entry has.

    Attributes:
        key: What the configuration is for.
        environment: Where it was tuned.
        config: The configuration.
        mode: "measured" or "modelled".
        seconds: Of a call under the configuration ("best"), under the default one, and of dense attention.
        samples: The seconds whose medians these are.
        resources: Registers, memory and so on of each kernel.
        expected_error: The relative error of a prediction.
        trials: Candidates that were tried.
        effort: The name of the tuner's effort.
        seed: Of the search.
        space: The hash of the search space.
        made: When, as ISO 8601 with its zone.
        version: Of attncc.
        about: For people: the pattern's repr, lengths, the score's repr, the number of candidates.
    """

    key: Key
    environment: Environment
    config: Mapping[str, object]
    mode: str
    seconds: Mapping[str, float]
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    resources: Sequence[Mapping[str, object]] = ()
    expected_error: float | None = None
    trials: int = 0
    effort: str = ""
    seed: int = 0
    space: str = ""
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    version: str = __version__
    about: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.key.backend, self.key.target) != (self.environment.backend, self.environment.target):
            validation.refuse("Its key and its environment are of different backends or targets")
        check_config(self.config, self.key.direction)
        validation.member(self.mode, "mode", MODES)
        _check_times(self.seconds, self.samples)
        for kernel in validation.sequence(self.resources, "resources", 256):
            _check_plain(validation.mapping(kernel, "resources"))
        if self.expected_error is not None:
            validation.number(self.expected_error, "expected_error")
        validation.integer(self.trials, "trials")
        validation.integer(self.seed, "seed")
        for name in ("effort", "space", "version"):
            validation.text(getattr(self, name), name)
        _check_time(self.made)
        _check_plain(validation.mapping(self.about, "about", 16))
        self._settle()

    def _settle(self) -> None:
        """Copy values to the types that parsing gives, so that an entry equals the one that is read from its file."""
        for name in ("config", "about"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        object.__setattr__(self, "seconds", {name: float(value) for name, value in self.seconds.items()})
        object.__setattr__(self, "samples", {name: tuple(map(float, each)) for name, each in self.samples.items()})
        object.__setattr__(self, "resources", tuple(map(dict, self.resources)))

    @classmethod
    def parse(cls, value: object) -> Entry:
        """Return the entry that `describe` described; raises ConfigError for anything else."""
        record = validation.record(value, ("format", *_NAMES), "An entry")
        if record["format"] != FORMAT:
            validation.refuse(f"format is {record['format']!r:.60}", f"This attncc reads format {FORMAT}.")
        key, environment = Key.parse(record["key"]), Environment.parse(record["environment"])
        rest = {name: record[name] for name in _NAMES if name not in ("key", "environment")}
        return cls(key=key, environment=environment, **rest)

    @classmethod
    def read(cls, path: Path) -> Entry:
        """Return the entry of a file; raises ConfigError for one that isn't an entry's, or OSError."""
        return cls.parse(validation.decoded(read(path, MAX_BYTES)))

    def describe(self) -> dict[str, Any]:
        """Return the entry as JSON-able data."""
        return self._told() | {"key": self.key.describe(), "environment": self.environment.describe()}

    def _told(self) -> dict[str, Any]:
        return {"format": FORMAT} | {name: getattr(self, name) for name in _NAMES}

    def content(self) -> bytes:
        """Return the entry's file, a line for each field; raises ConfigError for one too large to be read again."""
        return self._content

    @cached_property
    def _content(self) -> bytes:
        encoded = {"key": _encoded(self.key.describe()), "environment": self.environment.encoded}
        lines = (f' "{name}": {encoded.get(name) or _encoded(each)}' for name, each in self._told().items())
        content = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
        if len(content) > MAX_BYTES:
            validation.refuse(f"The entry takes {len(content):,} bytes", f"An entry takes at most {MAX_BYTES:,}.")
        return content

    @cached_property
    def speedup(self) -> float | None:
        """The default's time over the configuration's, if both are known."""
        best, default = self.seconds.get("best"), self.seconds.get("default")
        return default / best if best and default else None

    @property
    def is_complete(self) -> bool:
        """Whether all candidates of its search space were tried."""
        candidates = self.about.get("candidates")
        return isinstance(candidates, int) and 0 < candidates <= self.trials

    @property
    def pattern(self) -> str:
        """The pattern's repr, with the score's if there is one."""
        name = str(self.about.get("pattern", self.key.pattern[:12]))
        return name + (f" under {self.about.get('score', self.key.score[:12])}" if self.key.score else "")


_NAMES = tuple(each.name for each in fields(Entry))


def about(pattern: object, q_len: int, kv_len: int, score: object = None) -> dict[str, object]:
    """Return the pattern, the lengths and the score that an entry was tuned with, for people."""
    described: dict[str, object] = {"pattern": _printable(pattern), "q_len": q_len, "kv_len": kv_len}
    return described if score is None else described | {"score": _printable(score)}


def _printable(value: object) -> str:
    text = "".join(each if each.isprintable() else " " for each in repr(value))
    return text if len(text) <= MAX_REPR else text[: MAX_REPR - 3] + "..."


def check_config(config: Mapping[str, object], direction: str) -> None:
    """Raise ConfigError unless names and values are those of a configuration, and the planner takes its options."""
    for name, value in validation.mapping(config, "config", 64).items():
        if not _CONFIG_NAME.fullmatch(name):
            validation.refuse(f"config has a name {name!r:.60}", 'Names are such as "forward.plan".')
        check_value(name, value)
    separated(config, direction)


def check_value(name: str, value: object) -> None:
    """Raise ConfigError unless a value can be stored in a configuration."""
    if isinstance(value, str):
        validation.text(value, f"config {name}", 64)
    elif not isinstance(value, int) or abs(value) >= MAX_VALUE:
        validation.refuse(f"config {name} is {value!r:.60}", "It is an integer below 2^31, a text, true or false.")


def _check_times(seconds: Mapping[str, float], samples: Mapping[str, Sequence[float]]) -> None:
    for name, value in validation.mapping(seconds, "seconds").items():
        validation.member(name, "a name in seconds", CONTESTANTS)
        validation.number(value, f"seconds of {name}")
    if "best" not in seconds:
        validation.refuse("seconds lacks best")
    for name, values in validation.mapping(samples, "samples").items():
        validation.member(name, "a name in samples", CONTESTANTS)
        for value in validation.sequence(values, f"samples of {name}", MAX_SAMPLES):
            validation.number(value, f"samples of {name}")


def _check_plain(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, str):
            validation.text(value, name, MAX_REPR)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            validation.number(value, name)
        elif not isinstance(value, bool | None):
            validation.refuse(f"{name} is a {type(value).__name__}", "It is a number, a text, true, false or null.")


def _check_time(value: object) -> None:
    try:
        aware = datetime.fromisoformat(validation.text(value, "made", 40)).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        validation.refuse(f"made is {value!r:.60}", "It is a time with its zone, as ISO 8601 writes it.")
