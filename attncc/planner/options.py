"""Choices that planning leaves open, one of each for the forward and for the backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from attncc.errors import ConfigError, check_known
from attncc.planner.directions import DIRECTIONS

#: Ways to run a predicate, as the planner names them; `cheapest` is the one that its cost model ranks first.
WAYS = ("cheapest", "split", "fused", "mixed", "blocked", "dense", "listed")


@dataclass(frozen=True)
class PlanOptions:
    """How one direction is planned.

    Attributes:
        plan: Which of the plan's alternatives runs; heads whose plan has none of that name run their cheapest.
        tile_m, tile_n: Query and key positions of a tile, powers of two; 0 leaves it to the backend.
    """

    plan: str = WAYS[0]
    tile_m: int = 0
    tile_n: int = 0

    def __post_init__(self) -> None:
        check_known("config plan", self.plan, WAYS)
        for name in ("tile_m", "tile_n"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value & (value - 1):
                raise ConfigError(
                    f"config {name}={value!r}.",
                    rule="It is a power of two, or 0 for the backend's.",
                    fix="For example 64 or 128.",
                )

    def tile(self, default: tuple[int, int]) -> tuple[int, int]:
        """Return the (query, key) positions of a tile, given the backend's."""
        return self.tile_m or default[0], self.tile_n or default[1]


def names() -> list[str]:
    """Return the names of a configuration's values that are the planner's: forward.plan, ..., backward.tile_n."""
    return [f"{direction}.{field.name}" for direction in DIRECTIONS for field in fields(PlanOptions)]


def separated(config: Mapping[str, object], direction: str) -> tuple[PlanOptions, dict[str, object]]:
    """Part a configuration into the planner's options for a direction and what is the backend's; raises ConfigError."""
    own = {field.name: f"{direction}.{field.name}" for field in fields(PlanOptions)}
    chosen: dict[str, Any] = {field: config[name] for field, name in own.items() if name in config}
    planners = set(names())
    rest = {name: value for name, value in config.items() if name not in planners}
    return PlanOptions(**chosen), rest
