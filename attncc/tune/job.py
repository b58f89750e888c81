"""Jobs: what is tuned, in one direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

from attncc import backends
from attncc.backends.inputs import Inputs
from attncc.configs.entry import about
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import PLAIN, Score
from attncc.ir.symbols import B, H
from attncc.planner.options import separated
from attncc.planner.passes import Alternative
from attncc.planner.plan import Plan
from attncc.planner.search import Tile, plan_for
from attncc.planner.shape import Shape
from attncc.targets import Target
from attncc.targets import target as find_target


@dataclass(frozen=True, eq=False)
class Job:
    """A pattern under a score at a shape with inputs of given sizes, in one direction, for a backend and a target.

    shape: with all heads and batch entries of the inputs. device: where it is measured, as torch names it; empty for a
    target that isn't here. A backward is tuned with the gradients of those of the score's weights that require one.
    """

    pattern: Pattern
    shape: Shape
    inputs: Inputs
    direction: str
    backend: str
    target: str
    device: str = ""
    score: Score = PLAIN
    used_by = "attncc.attention()"

    def __getstate__(self) -> dict[str, object]:
        """Workers get what a job is, and plan for themselves: plans hold functions."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def plan(self) -> Plan:
        """The plan in the backend's own tiles, for what is known before anything is chosen."""
        return self.planned(backends.known(self.backend).tile)

    def planned(self, tile: Tile) -> Plan:
        """Return the plan in tiles of some size; the last ones are kept."""
        return plan_for(self.pattern, self.planned_shape, tile, self.target)

    @cached_property
    def planned_shape(self) -> Shape:
        """The shape with heads and batch entries counted only where the pattern or the score depends on them."""
        free = self.pattern.predicate.free | self.score.expression.free
        heads, batch = self.shape.heads if H in free else 1, self.shape.batch if B in free else 1
        return replace(self.shape, heads=heads, batch=batch)

    @property
    def facts(self) -> Target:
        """What is known of the target."""
        return find_target(self.target)

    @cached_property
    def key(self) -> Key:
        """What the result is remembered under."""
        return Key.of(
            self.pattern, self.score.key, self.planned_shape, self.inputs, self.direction, self.backend, self.target
        )

    @property
    def title(self) -> str:
        """What people call it."""
        return repr(self.pattern) + ("" if self.is_plain else f" under {self.score!r}")

    @property
    def is_plain(self) -> bool:
        """Whether scores stay as they are."""
        return self.score.expression.is_identity

    @cached_property
    def environment(self) -> Environment:
        """What else the result depends on."""
        return Environment.of(self.backend, self.target)

    def afresh(self) -> Job:
        """Return the job without its environment: torch, once it is loaded, may count other threads."""
        return replace(self)

    def about(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return what people want to read beside the key: the pattern, its lengths, and what runs."""
        choice, _ = separated(config, self.direction)
        passes = [_named(group.alternatives[0]) for group in self.plan.preferring(choice.plan).groups]
        told = about(self.pattern, self.shape.q_len, self.shape.kv_len, None if self.is_plain else self.score)
        return told | {"plan": "; ".join(dict.fromkeys(passes))}


def _named(way: Alternative) -> str:
    return f"{way.name} ({' + '.join(work.layout.kind for work in way.passes)})"
