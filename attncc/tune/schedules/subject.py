"""Schedules, as the search sees them: candidates simulated on a topology, or the best of these run by its ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from types import TracebackType

from attncc.distributed.schedules.sharing import Sharing, possible_sharings
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.simulation.selection import described, fixing, parsed
from attncc.errors import AttnccError
from attncc.planner.directions import ways
from attncc.tune.kind import Candidate
from attncc.tune.options import Options
from attncc.tune.outcome import Config, Evaluator, Finals, Outcome, Places, fastest
from attncc.tune.schedule_kind import DEFAULT
from attncc.tune.schedules.efforts import SIMULATED
from attncc.tune.schedules.job import ScheduleJob
from attncc.tune.schedules.world import Asking, World
from attncc.tune.search import Ranked
from attncc.tune.space import Space
from attncc.tune.subject import OnStep
from attncc.tune.tuning import Tuning

#: Candidates of those that `choose` tries that are tried first.
PROPOSED = 4


@dataclass(frozen=True, eq=False)
class Simulated:
    """A job whose candidates are simulated."""

    job: ScheduleJob
    options: Options
    on_step: OnStep = lambda step: None
    dense: bool = False
    expected_error: float | None = None

    @property
    def default(self) -> Candidate:
        """What runs without any config."""
        return {**DEFAULT, **fixing(self.job.mesh)}

    @cached_property
    def scenario(self) -> Scenario:
        """Where schedules are simulated."""
        job = self.job
        return Scenario(job.pattern, job.length, job.inputs, job.topology, ways(job.direction))

    @cached_property
    def chosen(self) -> list[Candidate]:
        """The best of what `choose` tries without tuning: with the first in its space, a search does no worse."""
        found = choose(self.scenario, self._sharings(), self.on_step)[:PROPOSED]
        return [described(each.settings, each.sharing) for each in found]

    @property
    def facts(self) -> Mapping[str, object]:
        """Sizes of inputs and topology."""
        inputs, topology = self.job.inputs, self.job.topology
        sizes = ("batch", "heads", "kv_heads", "group", "head_dim", "value_dim", "itemsize")
        known = {name: getattr(inputs, name) for name in sizes}
        nodes, optional = len(set(topology.node.tolist())), find_spec("mtkahypar") is not None
        return known | {"q_len": self.job.length, "ranks": topology.count, "nodes": nodes, "hypergraph": optional}

    def ranked(self, space: Space) -> Sequence[Ranked]:
        """Return the feasible candidates, the nearest to what `choose` finds first; nothing predicts their seconds."""
        fixed = fixing(self.job.mesh)
        kept = [
            each for each in space.feasible(self.facts) if all(each[name] == value for name, value in fixed.items())
        ]
        found = [(self._distance(each), space.index(each)) for each in kept]
        return [Ranked(float("inf"), places) for _, places in sorted(found)]

    def _sharings(self) -> list[Sharing] | None:
        """Return how the ranks of a given mesh may share what there is, None where that is to be chosen."""
        if self.job.mesh is None:
            return None
        (batch, heads), inputs = self.job.mesh, self.job.inputs
        ranks = self.job.topology.count // (batch * heads)
        return possible_sharings(ranks, inputs.kv_heads, batch, heads)

    def _distance(self, candidate: Candidate) -> int:
        return sum(self.chosen[0][name] != value for name, value in candidate.items())

    def proposed(self) -> Sequence[Candidate]:
        """Return the best of what `choose` tries."""
        return self.chosen

    def evaluator(self, left: Callable[[], float]) -> Evaluator:
        """Return the simulation."""
        return Simulation(self.scenario)


class Simulation:
    """Predicts makespans; the same configuration always takes the same, and is simulated once."""

    batch = 1

    def __init__(self, scenario: Scenario) -> None:
        self._scene = scenario
        self._known: dict[frozenset[tuple[str, object]], Outcome] = {}

    def __enter__(self) -> Simulation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration."""
        return [self._outcome(config) for config in configs]

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Return the makespans of the contestants."""
        outcomes = self(contestants, None)
        return Finals(tuple(each.samples for each in outcomes), (), {})

    def _outcome(self, config: Config) -> Outcome:
        known = frozenset(config.items())
        if known not in self._known:
            self._known[known] = self._simulated(config)
        return self._known[known]

    def _simulated(self, config: Config) -> Outcome:
        sharing, settings = parsed(config, self._scene.topology.count)
        try:
            seconds = self._scene.candidate(settings, sharing).seconds
        except AttnccError as error:
            return Outcome(None, reason=error.problem)
        return Outcome(seconds, (seconds,))


@dataclass(frozen=True, eq=False)
class Ran(Simulated):
    """A job whose best candidates by simulation are run by all ranks."""

    world: World = field(kw_only=True)

    def ranked(self, space: Space) -> Sequence[Ranked]:
        """Return the default and the best by simulation, as many as are to be measured."""
        finished, base = self._simulated(), space.index(space.default)
        most = self.options.allowance.trials - 1
        best = [places for places in fastest(finished, most + 1) if places != base][:most]
        seconds = {places: outcome.seconds or 0.0 for places, outcome in finished.items()}
        return [Ranked(seconds.get(places, 0.0), places) for places in (base, *best)]

    def _simulated(self) -> dict[Places, Outcome]:
        """Return the trials of a tuning by simulation in half of the time; it goes on where an earlier one ended."""
        budget = self.options.allowance.seconds / 2
        options = replace(self.options, mode="modelled", efforts=SIMULATED, trials=None, budget=budget)
        return Tuning(Simulated(self.job, options, self.on_step)).searched()

    def proposed(self) -> Sequence[Candidate]:
        """Return nothing: simulation has ranked all."""
        return ()

    def evaluator(self, left: Callable[[], float]) -> Evaluator:
        """Return all ranks."""
        return Asking(self.world, self.on_step)
