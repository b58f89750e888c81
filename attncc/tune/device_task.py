"""Device tasks: what configurations of a backend are tried on, planned and lowered alike by all that try them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from attncc import backends
from attncc.frontend.scores import PLAIN, Score
from attncc.planner.options import separated
from attncc.planner.plan import Plan
from attncc.planner.search import Tile, plan_for
from attncc.planner.shape import Shape
from attncc.targets import Target
from attncc.targets import target as find_target
from attncc.tune.task import TuningTask


@dataclass(frozen=True, eq=False)
class DeviceTask(TuningTask):
    """A pattern under a score at a shape, for a backend and a target: what evaluators run.

    Attributes:
        shape: Lengths, with all heads and batch entries of the inputs.
        device: Where it is measured, as torch names it; empty for a target that isn't here.
        score: A backward is tuned with the gradients of those of its weights that require one.
    """

    shape: Shape
    device: str = ""
    score: Score = PLAIN

    def __getstate__(self) -> dict[str, object]:
        """Workers get what a task is, and plan for themselves: plans hold functions."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def plan(self) -> Plan:
        """The plan in the backend's own tiles, for what is known before anything is chosen."""
        return self.planned(backends.known(self.backend).tile)

    def planned(self, tile: Tile) -> Plan:
        """Return the plan in tiles of some size; the last ones are kept."""
        return plan_for(self.pattern, self.planned_shape, tile, self.target)

    def lowered(self, config: Mapping[str, object]) -> tuple[Plan, dict[str, object]]:
        """Return the plan under a configuration, and what of the configuration is the backend's; raises ConfigError."""
        planners, backends_own = separated(config, self.direction)
        tile = planners.tile(backends.known(self.backend).tile)
        return self.planned(tile).preferring(planners.plan), backends_own

    def running(self, config: Mapping[str, object]) -> Plan:
        """Return the plan under a configuration."""
        return self.lowered(config)[0]

    @cached_property
    def planned_shape(self) -> Shape:
        """The shape with heads and batch entries counted only where the pattern or the score depends on them."""
        return self.shape.narrowed(self.pattern.free | self.score.expression.free)

    @property
    def target_facts(self) -> Target:
        """What is known of the target."""
        return find_target(self.target)

    @property
    def title(self) -> str:
        """What people call it."""
        return repr(self.pattern) + ("" if self.is_plain else f" under {self.score!r}")

    @property
    def is_plain(self) -> bool:
        """Whether scores stay as they are."""
        return self.score.expression.is_identity
