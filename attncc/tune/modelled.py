"""Modelled: trials for a GPU that isn't here, compiled in workers and timed by the model of their machine code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from types import TracebackType

from attncc.backends import known
from attncc.backends.base import LoweredKernels
from attncc.errors import AttnccError, BackendError
from attncc.frontend.language import Index
from attncc.frontend.patterns import pattern
from attncc.ir.condition import Condition
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.source import Source
from attncc.planner.options import separated
from attncc.proof import causality
from attncc.targets import gpu
from attncc.tune.compilers import Compilers
from attncc.tune.job import Job
from attncc.tune.outcome import Config, Finals, Outcome

#: The compiler has hung once it takes this many times as long for a kernel as for the slowest of the default's ...
PATIENCE = 5.0
#: ... and at least so many seconds.
COMPILE_LIMIT = 60.0


@pattern
def causal(i: Index, j: Index) -> Condition:
    """What dense attention computes of a pattern that sees no later key."""
    return j <= i


@pattern
def full(i: Index, j: Index) -> Condition:
    """What dense attention computes of any other one."""
    return i == i


class Modelled:
    """Compiles configurations for a target, as many at a time as keep the workers busy, and models their time.

    Resources beyond the target's, a stack or spills are hard constraints: such a configuration has no seconds. The
    default's kernels come first, and may take as long as they do; the limits of all others scale with them.
    """

    def __init__(self, job: Job, workers: int, on_step: Callable[[str], None] = lambda step: None) -> None:
        if not known(job.backend).compiles:
            raise BackendError(
                f"Backend {job.backend!r} can't be modelled.",
                rule="The model reads the machine code of a backend that compiles its kernels ahead of time.",
                fix="Leave --backend out.",
            )
        self._job = job
        self._compilers = Compilers(gpu(job.target), workers, math.inf)
        self._on_step = on_step
        self.batch = 2 * workers

    def __enter__(self) -> Modelled:
        self._compilers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compilers.__exit__(kind, value, trace)

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration."""
        if math.isinf(self._compilers.limit_seconds):
            self._outcomes(self._job, [{}])
            self._compilers.limit_seconds = max(COMPILE_LIMIT, PATIENCE * self._compilers.slowest)
        return self._outcomes(self._job, configs)

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Return the modelled seconds of the contestants, and of the same kernels on a dense pattern."""
        outcomes = self._outcomes(self._job, contestants)
        samples = tuple(() if each.seconds is None else (each.seconds,) for each in outcomes)
        errors = {place: each.reason for place, each in enumerate(outcomes) if each.reason and place}
        of_dense = self._outcomes(_dense(self._job), [{}])[0].seconds if dense else None
        return Finals(samples, () if of_dense is None else (of_dense,), errors)

    def _outcomes(self, job: Job, configs: Sequence[Config]) -> list[Outcome]:
        kernels = [_lowered(job, config) for config in configs]
        sources = [[] if isinstance(each, str) else list(each.sources(job.direction)) for each in kernels]
        compiled = self._compilers.compile((source for each in sources for source in each), self._told)
        return [self._outcome(job, *each, compiled) for each in zip(kernels, sources, strict=True)]

    def _told(self, done: int, count: int) -> None:
        self._on_step(f"compiling for {self._job.target}: {done} of {count} kernels")

    def _outcome(
        self, job: Job, kernels: LoweredKernels | str, sources: list[Source], compiled: Mapping[Source, Compiled | str]
    ) -> Outcome:
        if isinstance(kernels, str):
            return Outcome(None, reason=kernels)
        found = {source: each for source in sources if isinstance(each := compiled[source], Compiled)}
        if len(found) < len(sources):
            missing = next(source for source in sources if source not in found)
            return Outcome(None, reason=str(compiled[missing]), is_late=missing in self._compilers.late)
        modelled = kernels.modelled(job.direction, found)
        resources = tuple(asdict(kernel) for kernel in modelled.kernels)
        if modelled.excess:
            return Outcome(None, reason=modelled.excess, resources=resources)
        return Outcome(modelled.seconds, (modelled.seconds,), resources=resources)


def _lowered(job: Job, config: Config) -> LoweredKernels | str:
    """Lower a configuration, or return why it can't be."""
    choice, rest = separated(config, job.direction)
    backend, score = known(job.backend), job.score
    with_weights = any(x.requires_grad for x in score.tensors)
    try:
        plan = job.planned(choice.tile(backend.tile)).preferring(choice.plan)
        expression = None if job.is_plain else score.expression
        return backend.lower_kernels(plan, expression, rest, job.inputs, job.facts, with_weights)
    except AttnccError as error:
        return error.problem


def _dense(job: Job) -> Job:
    """The same sizes under dense attention: causal where the pattern sees no later key, which halves its work."""
    shape = job.shape
    is_causal = shape.q_len == shape.kv_len and bool(causality.prove(job.pattern, shape).holds)
    return replace(job, pattern=(causal if is_causal else full)())
