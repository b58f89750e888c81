"""Backends as kinds of what is tuned: the planner's choices and their own, and what runs without any config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from attncc import backends
from attncc.backends.inputs import Inputs
from attncc.errors import ConfigError, nearest
from attncc.planner import options as choice
from attncc.planner.directions import DIRECTIONS
from attncc.targets import Target
from attncc.tune import facts
from attncc.tune.kind import Value

if TYPE_CHECKING:
    from attncc.backends.base import Backend


@dataclass(frozen=True)
class BackendKind:
    """A backend by its name; it is imported when something is asked of it."""

    name: str
    facts: tuple[str, ...] = facts.NAMES

    @cached_property
    def backend(self) -> Backend:
        """The backend, whether it can run here or not."""
        return backends.known(self.name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The planner's choices, then the backend's."""
        return (*choice.names(), *self.backend.choices)

    def direction_of(self, name: str) -> str | None:
        """Return the direction that a choice binds, None for both."""
        return name.partition(".")[0] if name in choice.names() else self.backend.choices.get(name)

    def check(self, values: Mapping[str, object]) -> None:
        """Raise ConfigError for a name or a value that neither the planner nor the backend takes."""
        rest: Mapping[str, object] = values
        for direction in DIRECTIONS:
            _, rest = choice.separated(rest, direction)
        self.backend.check(rest)

    def default(self, direction: str, inputs: Inputs, target: Target) -> dict[str, Value]:
        """Return what runs without any config for each choice of a direction; raises ConfigError for other inputs."""
        chosen = dict(self.backend.default(inputs, target))
        chosen[f"{direction}.plan"] = choice.WAYS[0]
        chosen[f"{direction}.tile_m"], chosen[f"{direction}.tile_n"] = self.backend.tile
        return {name: chosen[name] for name in self.names if self.direction_of(name) in (None, direction)}


@cache
def backend_kind(name: str) -> BackendKind:
    """Return a backend's kind; raises ConfigError for a backend without choices."""
    if not backends.is_tuned(name):
        raise ConfigError(
            f"Backend {name!r} can't be tuned.",
            rule=f"Search spaces exist for {', '.join(backends.tuned())}.",
            fix=nearest(name, backends.tuned()),
        )
    return BackendKind(name)
