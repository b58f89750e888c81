"""What can be tuned: the kinds that there are, and the names of their choices by direction."""

from __future__ import annotations

from attncc.tune.backend_kinds import backend_kind
from attncc.tune.kind import Kind
from attncc.tune.schedule_kind import SCHEDULES


def kind_of(name: str) -> Kind:
    """Return a kind; raises ConfigError for one that leaves nothing open."""
    return SCHEDULES if name == SCHEDULES.name else backend_kind(name)


def names(name: str, direction: str | None = None) -> tuple[str, ...]:
    """Return the names of a kind's choices, in one direction or (None) in all; raises ConfigError.

    What serves several directions at once, as schedules do, has no choice that binds one.
    """
    kind = kind_of(name)
    return tuple(each for each in kind.names if direction is None or kind.direction_of(each) in (None, direction))


def known(name: str, direction: str) -> tuple[str, ...]:
    """Return all names that a rule may have: facts, choices, and `default.` with a choice."""
    own = names(name, direction)
    return (*kind_of(name).facts, *own, *(f"default.{each}" for each in own))
