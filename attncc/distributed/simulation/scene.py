"""Scenes: a pattern, its inputs and a topology; what a schedule would take there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import portfolio
from attncc.distributed.schedules.adjacency import adjacency
from attncc.distributed.schedules.problem import Problem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, steps
from attncc.distributed.simulation.baselines import Baseline, Case, baselines, striped_blocks
from attncc.distributed.simulation.simulate import launches, makespan, pair_costs
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.frontend.patterns import Pattern
from attncc.ir.symbols import B, H
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
    def promise(self) -> float:
        """What the makespan can hardly fall below under any overlap of the same work and the same bytes."""
        return sum(timeline.promise for timeline in self.timelines.values())


@dataclass(frozen=True, eq=False)
class Scene:
    """Self-attention under a pattern over `length` tokens, on all devices of a topology.

    inputs: sizes of the whole query, key and value. directions: those that count, of DIRECTIONS. slack: a rank may own
    so many times its even share of tokens. Raises what planning a pattern raises.
    """

    pattern: Pattern
    length: int
    inputs: Inputs
    topology: Topology
    directions: tuple[str, ...] = DIRECTIONS
    slack: float = 1.25
    _problems: dict[Sharing, Problem] = field(default_factory=dict, repr=False)

    @cached_property
    def plan(self) -> Plan:
        """The plan for one device; its predicted cost is divided among the ranks by their pairs."""
        free = self.pattern.predicate.free
        heads, batch = self.inputs.heads if H in free else 1, self.inputs.batch if B in free else 1
        shape = Shape(self.length, self.length, 0, heads, batch)
        return plan_for(self.pattern, shape, TILE, self.topology.targets[0])

    @cached_property
    def costs(self) -> Mapping[str, Mapping[str, float]]:
        """Seconds of a pair, by direction and target."""
        problem = self.problem(Sharing(parts=self.topology.count))
        pairs = float(problem.whole(problem.plain(Settings())).work.sum())
        return {way: pair_costs(self.plan, self.inputs, pairs, self.topology, way) for way in self.directions}

    def problem(self, sharing: Sharing) -> Problem:
        """Return the problem that a sharing leaves to the parts of a sequence; raises TopologyError and ConfigError."""
        sharing.check(self.inputs)
        if sharing.ranks != self.topology.count:
            raise TopologyError(
                f"{sharing.ranks} ranks on the {self.topology.count} devices of {self.topology.name!r}.",
                rule="Each device has one rank.",
                fix="Take part of the topology, or divide the devices otherwise.",
            )
        key = sharing
        if key not in self._problems:
            first = next(ranks for _, ranks in sharing.groups())
            node_of = self.topology.node[first]
            sizes = (self.pattern, self.length, sharing.parts, self.inputs)
            self._problems[key] = Problem(*sizes, node_of, self.slack, self._most(sharing))
        return self._problems[key]

    def _most(self, sharing: Sharing) -> int | None:
        """Return the tokens of a part that its ranks' memory holds; None where no device says how much it has."""
        gpus = [found.gpu for found in map(target, self.topology.targets) if found.gpu is not None]
        if not gpus:
            return None
        inputs = self.inputs
        heads = (inputs.heads + inputs.kv_heads) // sharing.heads
        row = inputs.batch // sharing.batch * heads * (inputs.head_dim + inputs.value_dim) * inputs.itemsize
        return int(MEMORY_SHARE * min(gpu.memory for gpu in gpus) / (WITH_GRADIENTS * row)) * sharing.spread

    def candidate(self, settings: Settings, sharing: Sharing) -> Candidate:
        """Return the schedule that settings describe, with its predicted timelines."""
        schedule = self.problem(sharing).schedule(settings)
        timelines = {}
        for way in self.directions:
            found = steps(schedule, self.inputs, sharing, way)
            placed = [(found, np.arange(sharing.ranks))]
            timelines[way] = makespan(placed, self.topology, self.costs[way], launches(self.topology))
        return Candidate(settings, sharing, schedule, timelines)

    def baselines(self, direction: str) -> list[Baseline]:
        """Return known ways to distribute the same attention, in the same simulation.

        What they compute at a time is a task for each class of heads, as it is for a schedule.
        """
        ranks = self.topology.count
        problem = self.problem(Sharing(parts=ranks))
        plain = problem.partition(Settings())
        contiguous = problem.whole(plain.cut).blocks(plain.owner, ranks)
        each = {name: len(problem.classes) * seconds for name, seconds in launches(self.topology).items()}
        return baselines(
            Case(
                self.inputs,
                self.length,
                contiguous,
                self._striped(problem, plain.cut.size),
                self.topology,
                self.costs[direction],
                each,
                direction,
            )
        )

    def _striped(self, problem: Problem, unit: int) -> Array:
        """Return the pairs between stripes: exact for the queries of each, spread evenly over the keys they may see."""
        order = np.argsort(striped_blocks(self.length, problem.ranks), kind="stable")
        cut = portfolio.reordered(order, unit)
        predicates = [(each, heads * c.count) for c in problem.classes for each, heads in c.predicates]
        owner = portfolio.contiguous(adjacency(predicates, problem.shape, cut), problem.ranks, self.length)
        return adjacency(predicates, problem.shape, cut).blocks(owner, problem.ranks)
