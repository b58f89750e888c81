"""Schedules as a kind of what is tuned: the shape of the mesh, and the settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from attncc.configs.environment import SCHEDULES as NAME
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.selection import MESH, described, parsed
from attncc.tune.kind import Value

#: What runs without any config.
DEFAULT: Mapping[str, Value] = described(Settings(), Sharing())


@dataclass(frozen=True)
class ScheduleKind:
    """Partitioned schedules: one serves both directions, so that no choice binds one of them."""

    name: str = NAME
    names: tuple[str, ...] = tuple(DEFAULT)
    facts: tuple[str, ...] = (
        *("q_len", "batch", "heads", "kv_heads", "group", "head_dim", "value_dim", "itemsize"),
        *("ranks", "nodes", "hypergraph"),
    )

    def direction_of(self, name: str) -> str | None:
        """Return None: a choice counts in all directions."""
        return None

    def check(self, values: Mapping[str, object]) -> None:
        """Raise ConfigError for a name that isn't one of `names`, and a value that it can't have."""
        parsed(values, _product(values))


SCHEDULES = ScheduleKind()


def _product(values: Mapping[str, object]) -> int:
    """Return a number of ranks that a mesh of these values divides, if they are any mesh's."""
    sizes = (values.get(name) for name in MESH)
    return math.prod(size for size in sizes if isinstance(size, int) and size > 0)
