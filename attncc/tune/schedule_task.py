"""Schedule tasks: how the devices of a topology share a sequence, by simulation, or run by the ranks themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from attncc import targets
from attncc.configs.entry import about
from attncc.configs.environment import SCHEDULES, Environment
from attncc.configs.key import Key
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, possible_sharings
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.simulation.selection import (
    MESH,
    Fixed,
    described,
    environment_of,
    fixing,
    key_of,
    parsed,
)
from attncc.distributed.topology import Topology
from attncc.errors import AttnccError, TopologyError
from attncc.frontend.accepted import accepted_pattern
from attncc.planner.directions import BY_SHORT_NAME, ways
from attncc.tune.evaluation import Config, Evaluator, Finals, Outcome, fastest
from attncc.tune.listener import StepListener
from attncc.tune.options import Effort, Efforts, TuningOptions
from attncc.tune.space import Space
from attncc.tune.task import OnStep, TuningTask
from attncc.tune.tunables import Candidate, Tunables, Value

if TYPE_CHECKING:
    from attncc.tune.ranks import Ranks
    from attncc.tune.request import TuningRequest
    from attncc.tune.search import Ranking

#: By mode and level. Modelled trials are simulations; measured ones are the fastest of these, which all ranks run.
EFFORTS: Mapping[str, Efforts] = {
    "measured": {"quick": Effort(8, 120.0, 3, 7), "full": Effort(32, 900.0, 5, 15)},
    "modelled": {"quick": Effort(64, 60.0, 1, 1), "full": Effort(1000, 900.0, 1, 1)},
}
#: What runs without any config.
DEFAULT: Mapping[str, Value] = described(Settings(), Sharing())
#: Candidates of those that `choose` tries that are tried first.
PROPOSED = 4
#: Characters of a topology's title that an entry has room for.
LONGEST = 200
_SIZES = ("batch", "heads", "kv_heads", "group", "head_dim", "value_dim", "itemsize")


def _check(values: Mapping[str, object]) -> None:
    """Raise ConfigError for a name or a value that no schedule has; the ranks are as many as the mesh takes."""
    sizes = (values.get(name) for name in MESH)
    parsed(values, math.prod(size for size in sizes if isinstance(size, int) and size > 0))


#: One schedule serves both directions, so that no tunable binds one of them.
TUNABLES = Tunables(SCHEDULES, dict.fromkeys(DEFAULT), ("q_len", *_SIZES, "ranks", "nodes", "hypergraph"), _check)


@dataclass(frozen=True, eq=False)
class ScheduleTask(TuningTask):
    """Self-attention over `length` tokens on all devices of a topology; `attncc.distributed.compile` uses the result.

    Attributes:
        length: Queries and keys.
        topology: The devices, and what connects them.
        mesh: Batch and head shards, unless they are to be chosen.
        ranks: What runs schedules, where they are measured; without it they are simulated.
    """

    length: int
    topology: Topology
    mesh: Fixed | None = None
    ranks: Ranks | None = None
    used_by = "attncc.distributed.compile()"

    @classmethod
    def of(cls, request: TuningRequest) -> ScheduleTask:
        """Return the task of a request; raises TopologyError or ConfigError where a mesh or ranks don't fit devices."""
        topology = request.topology
        assert topology is not None
        if not isinstance(topology, Topology):
            topology = Topology.load(topology)
        if request.ranks is not None:
            topology = topology.subset(request.ranks)
        inputs = request.inputs(all(targets.target(name).gpu for name in topology.targets))
        if request.mesh is not None:
            _check_mesh(topology, request.mesh)
            Sharing(*request.mesh).check(inputs)
        if request.measure:
            _check_ranks(topology)
        pattern, direction, mesh = accepted_pattern(request.pattern), BY_SHORT_NAME[request.direction], request.mesh
        fixed = None if mesh is None else mesh[:2]
        key = key_of(pattern, request.q_len, inputs, topology, direction, fixed)
        mode = "measured" if request.measure else "modelled"
        return cls(pattern, inputs, direction, SCHEDULES, key.target, mode, request.q_len, topology, fixed)

    @cached_property
    def key(self) -> Key:
        """What the result is remembered under."""
        return key_of(self.pattern, self.length, self.inputs, self.topology, self.direction, self.mesh)

    @cached_property
    def environment(self) -> Environment:
        """What else the result depends on: all of the topology."""
        return environment_of(self.topology, self.mesh)

    def about(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return what people want to read beside the key: the pattern, its length, the devices, and what runs."""
        sharing, settings = parsed(config, self.topology.count)
        mesh = (
            f"{sharing.batch} batch x {sharing.heads} heads x {sharing.parts} parts x {sharing.ulysses_degree} spread"
        )
        title = "".join(each for each in self.topology.title if each.isprintable())[:LONGEST]
        said = about(self.pattern, self.length, self.length)
        plan = f"{mesh}: {settings.partition}, {settings.route}, {settings.stages} stages"
        return said | {"topology": title, "ranks": self.topology.count, "plan": plan}

    @property
    def efforts(self) -> Efforts:
        """What the levels of effort stand for."""
        return EFFORTS[self.mode]

    @property
    def tunables(self) -> Tunables:
        """The dimensions of the mesh, and the settings."""
        return TUNABLES

    @property
    def default(self) -> Candidate:
        """What runs without any config."""
        return {**DEFAULT, **fixing(self.mesh)}

    @property
    def facts(self) -> Mapping[str, object]:
        """Sizes of inputs and topology."""
        sizes = {name: getattr(self.inputs, name) for name in _SIZES}
        nodes, optional = len(set(self.topology.node.tolist())), find_spec("mtkahypar") is not None
        return sizes | {"q_len": self.length, "ranks": self.topology.count, "nodes": nodes, "hypergraph": optional}

    @cached_property
    def scenario(self) -> Scenario:
        """Where schedules are simulated."""
        return Scenario(self.pattern, self.length, self.inputs, self.topology, ways(self.direction))

    def rank(self, space: Space, options: TuningOptions, on_step: OnStep) -> Ranking:
        """Return the candidates near what `choose` finds first, or to be measured, the fastest by simulation."""
        return self._chosen(space, on_step) if self.ranks is None else self._simulated(space, options, on_step)

    def _chosen(self, space: Space, on_step: OnStep) -> Ranking:
        """Propose the best of what `choose` tries without tuning; nothing predicts the seconds of the others.

        With the first of them in its space, a search does no worse than `choose`.
        """
        from attncc.tune.search import RankedCandidate, Ranking

        fixed = fixing(self.mesh)
        feasible = [
            each for each in space.feasible(self.facts) if all(each[name] == value for name, value in fixed.items())
        ]
        best = choose(self.scenario, self._sharings(), on_step)[:PROPOSED]
        proposed = [described(each.settings, each.sharing) for each in best]

        def distance(candidate: Candidate) -> int:
            return sum(proposed[0][name] != value for name, value in candidate.items())

        by_distance = sorted((distance(each), space.point(each)) for each in feasible)
        return Ranking(space, self.facts, [RankedCandidate(math.inf, point) for _, point in by_distance], proposed)

    def _sharings(self) -> list[Sharing] | None:
        """Return how the ranks of a given mesh may share what there is, None where that is to be chosen."""
        if self.mesh is None:
            return None
        batch, heads = self.mesh
        return possible_sharings(self.topology.count // (batch * heads), self.inputs.kv_heads, batch, heads)

    def _simulated(self, space: Space, options: TuningOptions, on_step: OnStep) -> Ranking:
        """Return the default and the best by simulation, as many as are to be measured.

        They are of a search by simulation in half of the time, which goes on where an earlier one ended.
        """
        from attncc.tune.search import RankedCandidate, Ranking
        from attncc.tune.tuning import Tuning

        allowance = self.allowance(options)
        simulated = replace(self, mode="modelled", ranks=None)
        halved = replace(options, trials=None, budget=allowance.seconds / 2)
        finished = Tuning(simulated, halved, StepListener(on_step)).searched()
        default, most = space.point(space.default), allowance.trials - 1
        best = [point for point in fastest(finished, most + 1) if point != default][:most]
        seconds = {point: outcome.seconds or 0.0 for point, outcome in finished.items()}
        ranked = [RankedCandidate(seconds.get(point, 0.0), point) for point in (default, *best)]
        return Ranking(space, self.facts, ranked)

    def evaluator(self, options: TuningOptions, left: Callable[[], float], on_step: OnStep) -> Evaluator:
        """Return the simulation, or all ranks."""
        if self.ranks is None:
            return ScheduleSimulator(self.scenario)
        from attncc.tune.ranks import RanksEvaluator

        return RanksEvaluator(self.ranks, on_step)


class ScheduleSimulator(Evaluator):
    """Predicts makespans; the same configuration always takes the same, and is simulated once."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._outcomes: dict[frozenset[tuple[str, object]], Outcome] = {}

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration."""
        return [self._outcome(config) for config in configs]

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Return the makespans of the contestants."""
        return Finals(tuple(each.samples for each in self(contestants, None)), (), {})

    def _outcome(self, config: Config) -> Outcome:
        items = frozenset(config.items())
        if items not in self._outcomes:
            self._outcomes[items] = self._simulated(config)
        return self._outcomes[items]

    def _simulated(self, config: Config) -> Outcome:
        sharing, settings = parsed(config, self._scenario.topology.count)
        try:
            seconds = self._scenario.candidate(settings, sharing).seconds
        except AttnccError as error:
            return Outcome(None, reason=error.problem)
        return Outcome(seconds, (seconds,))


def _check_mesh(topology: Topology, mesh: tuple[int, int, int]) -> None:
    if math.prod(mesh) != topology.count:
        raise TopologyError(
            f"A mesh of {'x'.join(map(str, mesh))} on the {topology.count} devices of {topology.name!r}.",
            rule="It is batch x heads x sequence, and their product the number of devices.",
            fix="Change --mesh, or take fewer devices with --ranks.",
        )


def _check_ranks(topology: Topology) -> None:
    from attncc.tune.ranks import world_size

    size = world_size()
    if topology.count != size:
        raise TopologyError(
            f"{size} ranks on the {topology.count} devices of {topology.name!r}.",
            rule="Each device has one rank, where they are measured.",
            fix=f"Take its first ones with --ranks {size}, or start as many ranks.",
        )
