"""Tunables: what a backend, or a schedule, leaves open to be tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attncc import backends
from attncc.backends.choices import Value as Value
from attncc.backends.inputs import Inputs
from attncc.errors import ConfigError, nearest
from attncc.planner import options
from attncc.planner.directions import DIRECTIONS
from attncc.targets import Target
from attncc.tune import facts

#: A value of each parameter of a search space.
Candidate = Mapping[str, Value]


@dataclass(frozen=True)
class Tunables:
    """What can be chosen of a backend or of a schedule.

    Attributes:
        name: The backend, and its folder in `search_spaces/`.
        directions: By tunable, the direction that it binds; None where it counts in all directions.
        facts: Names that the rules of a search space may use besides.
        check: Raises ConfigError for a name or a value that nothing takes.
    """

    name: str
    directions: Mapping[str, str | None]
    facts: tuple[str, ...]
    check: Callable[[Mapping[str, object]], None]

    def names(self, direction: str | None = None) -> tuple[str, ...]:
        """Return the names of the tunables of one direction, or (None) of all.

        A schedule serves several directions at once; none of its tunables binds a direction.
        """
        return tuple(name for name, bound in self.directions.items() if direction is None or bound in (None, direction))

    def rule_names(self, direction: str) -> tuple[str, ...]:
        """Return all names that a rule may use: facts, tunables, and `default.` with a tunable."""
        own = self.names(direction)
        return (*self.facts, *own, *(f"default.{name}" for name in own))


def backend_tunables(name: str) -> Tunables:
    """Return the planner's options and a backend's choices; raises ConfigError for a backend without choices."""
    if name not in backends.tuned():
        raise ConfigError(
            f"Backend {name!r} can't be tuned.",
            rule=f"Search spaces exist for {', '.join(backends.tuned())}.",
            fix=nearest(name, backends.tuned()),
        )
    backend = backends.known(name)

    def check(values: Mapping[str, object]) -> None:
        for direction in DIRECTIONS:
            _, values = options.separated(values, direction)
        backend.check(values)

    planners = {option: option.partition(".")[0] for option in options.names()}
    return Tunables(name, {**planners, **backend.choices}, facts.NAMES, check)


def backend_default(name: str, direction: str, inputs: Inputs, target: Target) -> dict[str, Value]:
    """Return the value of each tunable without any config; raises ConfigError for inputs that the backend refuses."""
    tunables, backend = backend_tunables(name), backends.known(name)
    values: dict[str, Value] = dict(backend.default(inputs, target))
    values[f"{direction}.plan"] = options.WAYS[0]
    values[f"{direction}.tile_m"], values[f"{direction}.tile_n"] = backend.tile
    return {tunable: values[tunable] for tunable in tunables.names(direction)}
