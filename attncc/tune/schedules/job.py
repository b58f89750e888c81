"""Jobs: a pattern over a sequence that the devices of a topology share, in one direction or both together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from attncc.backends.inputs import Inputs
from attncc.configs.entry import about
from attncc.configs.environment import SCHEDULES, Environment
from attncc.configs.key import Key
from attncc.distributed.simulation.selection import Fixed, environment_of, key_of, parsed
from attncc.distributed.topology import Topology
from attncc.frontend.patterns import Pattern

#: Characters of a topology's title that an entry has room for.
LONGEST = 200


@dataclass(frozen=True, eq=False)
class ScheduleJob:
    """Self-attention over `length` tokens on all devices of a topology.

    direction: forward, backward, or `both`: one schedule serves them. mesh: its batch and head shards, unless
    they are to be chosen.
    """

    pattern: Pattern
    length: int
    inputs: Inputs
    direction: str
    topology: Topology
    mesh: Fixed | None = None
    backend: str = SCHEDULES
    used_by = "attncc.distributed.compile()"

    @property
    def title(self) -> str:
        """What people call it."""
        return repr(self.pattern)

    @property
    def target(self) -> str:
        """The topology's name."""
        return self.key.target  # with its mesh

    @cached_property
    def key(self) -> Key:
        """What the result is remembered under."""
        return key_of(self.pattern, self.length, self.inputs, self.topology, self.direction, self.mesh)

    @cached_property
    def environment(self) -> Environment:
        """What else the result depends on: all of the topology."""
        return environment_of(self.topology, self.mesh)

    def about(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return what people want to read beside the key."""
        sharing, settings = parsed(config, self.topology.count)
        mesh = (
            f"{sharing.batch} batch x {sharing.heads} heads x {sharing.parts} parts x {sharing.ulysses_degree} spread"
        )
        title = "".join(each for each in self.topology.title if each.isprintable())[:LONGEST]
        told = about(self.pattern, self.length, self.length)
        plan = f"{mesh}: {settings.partition}, {settings.route}, {settings.stages} stages"
        return told | {"topology": title, "ranks": self.topology.count, "plan": plan}

    def afresh(self) -> ScheduleJob:
        """Return the job: it depends on no process."""
        return self
