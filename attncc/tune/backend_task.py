"""Backend tasks: one direction of a backend on one device, tried there or in a model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from attncc import backends
from attncc.configs.entry import about
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.errors import BackendError, ConfigError
from attncc.frontend.accepted import accepted_pattern, accepted_score
from attncc.planner.checks import check_score
from attncc.planner.directions import BY_SHORT_NAME, ways
from attncc.planner.options import separated
from attncc.planner.shape import Shape
from attncc.targets import target as find_target
from attncc.tune import devices
from attncc.tune.device_task import DeviceTask
from attncc.tune.facts import facts
from attncc.tune.options import Effort, Efforts, TuningOptions
from attncc.tune.space import Space
from attncc.tune.task import OnStep
from attncc.tune.tunables import Candidate, Tunables, backend_default, backend_tunables

if TYPE_CHECKING:
    from attncc.tune.evaluation import Config, Evaluator
    from attncc.tune.request import TuningRequest
    from attncc.tune.search import RankedCandidate, Ranking

#: By mode and level.
EFFORTS: Mapping[str, Efforts] = {
    "measured": {"quick": Effort(48, 75.0, 3, 7), "full": Effort(400, 1800.0, 5, 15)},
    "modelled": {"quick": Effort(24, 260.0, 1, 1), "full": Effort(200, 3600.0, 1, 1)},
}


@dataclass(frozen=True, eq=False)
class BackendTask(DeviceTask):
    """The search for the configuration of a backend on a device; `attncc.attention` uses the result."""

    used_by = "attncc.attention()"

    @classmethod
    def of(cls, request: TuningRequest) -> list[BackendTask]:
        """Return the tasks of a request, one for each direction."""
        target, device = devices.located(request.target)
        mode = _mode(request.mode, target, device)
        target_facts = find_target(target)
        score = accepted_score(request.score)
        first, *others = ways(BY_SHORT_NAME[request.direction])
        task = cls(
            pattern=accepted_pattern(request.pattern),
            shape=Shape.of(request.q_len, request.kv_len, request.q_offset, request.heads, request.batch),
            inputs=request.inputs(target_facts.gpu is not None),
            direction=first,
            backend=request.backend or backends.preferred_for(target_facts),
            target=target,
            device=device,
            score=score.on([x.detach().requires_grad_(x.requires_grad) for x in score.tensors]),
            mode=mode,
        )
        check_score(task.score.expression, task.pattern, task.planned_shape)
        return [task, *(replace(task, direction=each) for each in others)]

    @cached_property
    def key(self) -> Key:
        """What the result is remembered under."""
        return Key.of(
            self.pattern,
            self.score.expression.outline,
            self.planned_shape,
            self.inputs,
            self.direction,
            self.backend,
            self.target,
        )

    @cached_property
    def environment(self) -> Environment:
        """What else the result depends on."""
        return Environment.of(self.backend, self.target)

    def about(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return what people want to read beside the key: the pattern, its lengths, and what runs."""
        planners, _ = separated(config, self.direction)
        ways = [group.alternatives[0] for group in self.plan.preferring(planners.plan).groups]
        plans = [f"{way.name} ({' + '.join(each.layout.kind for each in way.passes)})" for way in ways]
        said = about(self.pattern, self.shape.q_len, self.shape.kv_len, None if self.is_plain else self.score)
        return said | {"plan": "; ".join(dict.fromkeys(plans))}

    @property
    def efforts(self) -> Efforts:
        """What the levels of effort stand for."""
        return EFFORTS[self.mode]

    @cached_property
    def tunables(self) -> Tunables:
        """The planner's options and the backend's choices; raises ConfigError for a backend without choices."""
        return backend_tunables(self.backend)

    @cached_property
    def default(self) -> Candidate:
        """What runs without any config; raises ConfigError for inputs that the backend refuses."""
        return backend_default(self.backend, self.direction, self.inputs, self.target_facts)

    @cached_property
    def facts(self) -> Mapping[str, object]:
        """Facts of the plan, the inputs and the target."""
        return facts(self.plan, self.inputs, self.target_facts)

    @property
    def has_dense_baseline(self) -> bool:
        """Whether dense attention takes part in the finals; the library's takes no score."""
        return self.is_plain

    @property
    def expected_error(self) -> float | None:
        """The model's error, where it predicts."""
        return backends.known(self.backend).expected_error if self.mode == "modelled" else None

    def rank(self, space: Space, options: TuningOptions, on_step: OnStep) -> Ranking:
        """Return the feasible candidates by predicted time; of those that are predicted alike, one goes first."""
        from attncc.tune.search import RankedCandidate, Ranking

        ranked = [RankedCandidate(self.predicted(each), space.point(each)) for each in space.feasible(self.facts)]
        ranked.sort(key=lambda each: (each.seconds, space.changes(each.point)))
        return Ranking(space, self.facts, _distinct_first(ranked))

    def predicted(self, config: Config) -> float:
        """Return the seconds that the backend's cost model predicts."""
        plan, rest = self.lowered(config)
        return backends.known(self.backend).predict(plan, self.inputs, self.direction, rest, self.target_facts)

    def evaluator(self, options: TuningOptions, left: Callable[[], float], on_step: OnStep) -> Evaluator:
        """Return devices of this machine, or the model of one that isn't here."""
        if self.mode == "modelled":
            if not backends.known(self.backend).compiles:
                raise BackendError(
                    f"Backend {self.backend!r} can't be modelled.",
                    rule="The model reads the machine code of a backend that compiles its kernels ahead of time.",
                    fix="Leave --backend out.",
                )
            from attncc.tune.modelled import ModelEvaluator

            return ModelEvaluator(self, options.workers, on_step)
        from attncc.tune.measured import DeviceEvaluator, Policy

        names = devices.alike(self.device, self.target, options.workers)
        return DeviceEvaluator(self, self.default, options.seed, Policy(), names, left, on_step)


def _distinct_first(ranked: Sequence[RankedCandidate]) -> list[RankedCandidate]:
    """Put candidates of one prediction, which most often run alike, behind the first of them and all others."""
    first = {each.seconds: each for each in reversed(ranked)}
    return [*(first[seconds] for seconds in sorted(first)), *(each for each in ranked if first[each.seconds] != each)]


def _mode(mode: str | None, target: str, device: str) -> str:
    chosen = mode or ("measured" if device else "modelled")
    if chosen == "measured" and not device:
        raise ConfigError(
            f"Target {target!r} can't be measured: it isn't in this machine.",
            rule="Only a device at hand is measured.",
            fix="Use --mode modelled, or run it there.",
        )
    if chosen == "modelled" and find_target(target).gpu is None:
        raise ConfigError(
            f"Target {target!r} can't be modelled.",
            rule="The model reads the machine code of GPU kernels.",
            fix="Use --mode measured.",
        )
    return chosen
