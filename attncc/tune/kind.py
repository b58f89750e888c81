"""Kinds of what is tuned: which choices each leaves open, what rules may say of them, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from attncc.backends.choices import Value as Value

Candidate = Mapping[str, Value]


class Kind(Protocol):
    """A backend, or schedules: something that leaves choices open, with a folder of search spaces of its name."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all choices."""
        ...

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of facts that rules may have besides."""
        ...

    def direction_of(self, name: str) -> str | None:
        """Return the one direction that a choice binds, None for all."""
        ...

    def check(self, values: Mapping[str, object]) -> None:
        """Raise ConfigError for a name or a value that nothing takes."""
        ...
