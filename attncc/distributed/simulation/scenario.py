"""Scenarios: a pattern, its inputs and a topology; what a schedule would take there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, steps
from attncc.distributed.simulation.baselines import ORDERS, Baseline, BlockScenario, baselines
from attncc.distributed.simulation.simulate import launches, makespan, pair_costs
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array
from attncc.planner.directions import DIRECTIONS
from attncc.planner.plan import Plan
from attncc.planner.search import TILE, plan_for
from attncc.planner.shape import Shape
from attncc.targets import target

#: The part of a device's memory for rows of query, key, value and output: the rest is for the model, and what arrives.
MEMORY_SHARE = 0.5
#: Each of them has a gradient of its size.
WITH_GRADIENTS = 2


@dataclass(frozen=True, eq=False)
class Candidate:
    """A schedule for the whole inputs, how ranks share them, and its predicted timeline in each direction."""

    settings: Settings
    sharing: Sharing
    schedule: Schedule
    timelines: Mapping[str, Timeline]

    @property
    def seconds(self) -> float:
        """The predicted makespan, all directions together."""
        return sum(timeline.seconds for timeline in self.timelines.values())

    @property
    def lower_bound(self) -> float:
        """The least makespan of the same work and the same bytes, however they overlap."""
        return sum(timeline.lower_bound for timeline in self.timelines.values())


@dataclass(frozen=True, eq=False)
class Scenario:
    """Self-attention under a pattern over `length` tokens, on all devices of a topology.

    Raises what planning a pattern raises.

    Attributes:
        inputs: Sizes of the whole query, key and value.
        directions: Those that count, of DIRECTIONS.
        slack: The most tokens of a rank over its even share.
    """

    pattern: Pattern
    length: int
    inputs: Inputs
    topology: Topology
    directions: tuple[str, ...] = DIRECTIONS
    slack: float = 1.25
    _problems: dict[Sharing, PartitioningProblem] = field(default_factory=dict, repr=False)

    @cached_property
    def plan(self) -> Plan:
        """The plan for one device; its predicted cost is divided among the ranks by their pairs."""
        whole = Shape.of(self.length, heads=self.inputs.heads, batch=self.inputs.batch)
        shape = whole.narrowed(self.pattern.free)
        return plan_for(self.pattern, shape, TILE, self.topology.targets[0])

    @cached_property
    def costs(self) -> Mapping[str, Mapping[str, float]]:
        """Seconds of a pair, by direction and target."""
        problem = self.problem(Sharing(parts=self.topology.count))
        pairs = float(problem.whole(problem.plain(Settings())).work.sum())
        return {
            direction: pair_costs(self.plan, self.inputs, pairs, self.topology, direction)
            for direction in self.directions
        }

    def problem(self, sharing: Sharing) -> PartitioningProblem:
        """Return the problem that a sharing leaves to the parts of a sequence; raises TopologyError and ConfigError."""
        sharing.check(self.inputs)
        if sharing.ranks != self.topology.count:
            raise TopologyError(
                f"{sharing.ranks} ranks on the {self.topology.count} devices of {self.topology.name!r}.",
                rule="Each device has one rank.",
                fix="Take part of the topology, or divide the devices otherwise.",
            )
        if sharing not in self._problems:
            first = next(ranks for _, ranks in sharing.groups())
            node_of = self.topology.node[first]
            sizes = (self.pattern, self.length, sharing.parts, self.inputs)
            self._problems[sharing] = PartitioningProblem(*sizes, node_of, self.slack, self._most(sharing))
        return self._problems[sharing]

    def _most(self, sharing: Sharing) -> int | None:
        """Return the tokens of a part that its ranks' memory holds; None where no device says how much it has."""
        gpus = [found.gpu for found in map(target, self.topology.targets) if found.gpu is not None]
        if not gpus:
            return None
        inputs = self.inputs
        heads = (inputs.heads + inputs.kv_heads) // sharing.heads
        row = inputs.batch // sharing.batch * heads * (inputs.head_dim + inputs.value_dim) * inputs.itemsize
        return int(MEMORY_SHARE * min(gpu.memory for gpu in gpus) / (WITH_GRADIENTS * row)) * sharing.ulysses_degree

    def candidate(self, settings: Settings, sharing: Sharing) -> Candidate:
        """Return the schedule that settings describe, with its predicted timelines."""
        schedule, ranks = self.problem(sharing).schedule(settings), np.arange(sharing.ranks)
        timelines = {}
        for direction in self.directions:
            groups = [(steps(schedule, self.inputs, sharing, direction), ranks)]
            timelines[direction] = makespan(groups, self.topology, self.costs[direction], launches(self.topology))
        return Candidate(settings, sharing, schedule, timelines)

    def baselines(self, direction: str) -> list[Baseline]:
        """Return the baselines for the same attention, in the same simulation."""
        return baselines(self.blocks(direction))

    def blocks(self, direction: str) -> BlockScenario:
        """Return what baselines are compared on.

        What they compute at a time is a task for each head class, as it is for a schedule.
        """
        classes = len(self.problem(Sharing(parts=self.topology.count)).classes)
        launch = {name: classes * seconds for name, seconds in launches(self.topology).items()}
        sizes = self.inputs, self.length, *self._block_pairs
        return BlockScenario(*sizes, self.topology, self.costs[direction], launch, direction)

    @cached_property
    def _block_pairs(self) -> tuple[Array, Array]:
        """Pairs between blocks, by ORDERS: exact for the queries of each, spread evenly over the keys they may see."""
        problem = self.problem(Sharing(parts=self.topology.count))
        partitions = [problem.partition(Settings(order)) for order in ORDERS]
        contiguous, cyclic = (problem.whole(each.chunking).blocks(each.owner, problem.ranks) for each in partitions)
        return contiguous, cyclic
