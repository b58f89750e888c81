"""Results of look-ups: a configuration, its source, and whether it is still current."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from attncc.configs.encoding import encoded
from attncc.configs.entry import Entry
from attncc.configs.state import state


@dataclass(frozen=True)
class LookupResult:
    """A configuration that was looked up.

    Attributes:
        config: The configuration; empty for the default one.
        source: "exact", "nearest" (of another key), "shipped" (exact, with a plugin or attncc) or "default".
        entry: The entry that holds it, if there is one.
        distance: Octaves from the key that was looked up to the entry's.
        layer: The name of the layer that the entry is in.
        differences: (here, there) of each field in which the entry's environment differs.
        folder: The folder of winners that the look-up read, "" for none.
        state: What it depended on (attncc.configs.state).
    """

    config: Mapping[str, object] = field(default_factory=dict)
    source: str = "default"
    entry: Entry | None = None
    distance: float | None = None
    layer: str = ""
    differences: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    folder: str = field(default="", compare=False)
    state: tuple[object, ...] = field(default=(), compare=False)

    @cached_property
    def text(self) -> str:
        """The configuration as text, "" for the default one."""
        return encoded(self.config) if self.config else ""

    @property
    def is_current(self) -> bool:
        """Whether nothing that the look-up depended on has changed since; it takes microseconds."""
        return self.state == state(self.folder)

    def __str__(self) -> str:
        if self.entry is None:
            return "The default configuration: none was found."
        gain = f", {self.entry.speedup:.2f} x the default's speed" if self.entry.speedup else ""
        away = f", tuned {self.distance:.2f} octaves away" if self.source == "nearest" else ""
        other = f"; in another environment ({', '.join(self.differences)})" if self.differences else ""
        what = {"exact": "An exact", "shipped": "A shipped", "nearest": "The nearest"}[self.source]
        return f"{what} configuration, {self.entry.mode}{gain}{away}, from {self.layer}{other}."

    def describe(self) -> dict[str, object]:
        """Return the result as JSON-able data."""
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
            "environment_differences": described(self.differences),
        }


def described(differences: Mapping[str, tuple[object, object]]) -> dict[str, list[object]]:
    """Return differences as JSON-able data."""
    return {name: list(pair) for name, pair in differences.items()}
