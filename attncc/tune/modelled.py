"""Modelled trials: kernels for a GPU that isn't here, compiled in workers, with seconds by a model of their code."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from multiprocessing.connection import wait
from typing import Any

from attncc._util.closing import Closing
from attncc.backends import known
from attncc.backends.base import LoweredKernels
from attncc.errors import AttnccError, ConfigError
from attncc.frontend.language import Index
from attncc.frontend.pattern_factory import pattern
from attncc.ir.condition import Condition
from attncc.machine_code import store
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile
from attncc.machine_code.source import Source
from attncc.proof import causality
from attncc.targets import Gpu, gpu
from attncc.tune.device_task import DeviceTask
from attncc.tune.evaluation import Config, Evaluator, Finals, Outcome
from attncc.tune.worker import Failure, Worker

#: The compiler has hung once it takes this many times as long for a kernel as for the slowest of the default's ...
PATIENCE = 5.0
#: ... and at least this many seconds.
COMPILE_LIMIT = 60.0

#: A kernel, or in a line why there is none.
Result = Compiled | str
#: What a worker compiles, since when, and until when it may.
Compilation = tuple[Source, float, float]


@pattern
def causal(i: Index, j: Index) -> Condition:
    """What dense attention computes of a pattern that sees no later key."""
    return j <= i


@pattern
def full(i: Index, j: Index) -> Condition:
    """What dense attention computes of any other pattern."""
    return i == i


class ModelEvaluator(Evaluator):
    """Compiles configurations for a target, as many at a time as keep the workers busy, and models their time.

    Resources beyond the target's, a stack or spills are hard constraints: such a configuration has no seconds. The
    default's kernels come first, and may take as long as they do; the limits of all others scale with them.
    """

    def __init__(self, task: DeviceTask, workers: int, on_step: Callable[[str], None] = lambda step: None) -> None:
        self._task, self._on_step = task, on_step
        self._compilers = Compilers(gpu(task.target), workers, math.inf)
        self.batch = 2 * workers

    def close(self) -> None:
        """End the compilers."""
        self._compilers.close()

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration."""
        if math.isinf(self._compilers.limit_seconds):
            self._outcomes(self._task, [{}])
            self._compilers.limit_seconds = max(COMPILE_LIMIT, PATIENCE * self._compilers.slowest)
        return self._outcomes(self._task, configs)

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Return the modelled seconds of the contestants, and of the same kernels on a dense pattern."""
        outcomes = self._outcomes(self._task, contestants)
        samples = tuple(() if each.seconds is None else (each.seconds,) for each in outcomes)
        errors = {index: each.reason for index, each in enumerate(outcomes) if each.reason and index}
        of_dense = self._outcomes(_dense(self._task), [{}])[0].seconds if dense else None
        return Finals(samples, () if of_dense is None else (of_dense,), errors)

    def _outcomes(self, task: DeviceTask, configs: Sequence[Config]) -> list[Outcome]:
        kernels = [_lowered(task, config) for config in configs]
        sources = [[] if isinstance(each, str) else list(each.sources(task.direction)) for each in kernels]
        compiled = self._compilers.compile(
            (source for each in sources for source in each),
            lambda done, count: self._on_step(f"compiling for {task.target}: {done} of {count} kernels"),
        )
        return [self._outcome(task, *each, compiled) for each in zip(kernels, sources, strict=True)]

    def _outcome(
        self, task: DeviceTask, kernels: LoweredKernels | str, sources: list[Source], results: Mapping[Source, Result]
    ) -> Outcome:
        if isinstance(kernels, str):
            return Outcome(None, reason=kernels)
        compiled = {source: each for source in sources if isinstance(each := results[source], Compiled)}
        if len(compiled) < len(sources):
            missing = next(source for source in sources if source not in compiled)
            return Outcome(None, reason=str(results[missing]), is_late=missing in self._compilers.late)
        modelled = kernels.modelled(task.direction, compiled)
        resources = tuple(asdict(kernel) for kernel in modelled.kernels)
        if modelled.excess:
            return Outcome(None, reason=modelled.excess, resources=resources)
        return Outcome(modelled.seconds, (modelled.seconds,), resources=resources)


def _lowered(task: DeviceTask, config: Config) -> LoweredKernels | str:
    """Lower a configuration, or return why it can't be."""
    expression = None if task.is_plain else task.score.expression
    with_weights = any(x.requires_grad for x in task.score.tensors)
    try:
        plan, backends_own = task.lowered(config)
        backend = known(task.backend)
        return backend.lower_kernels(plan, expression, backends_own, task.inputs, task.target_facts, with_weights)
    except AttnccError as error:
        return error.problem


def _dense(task: DeviceTask) -> DeviceTask:
    """Return the task under dense attention: causal where the pattern sees no later key, which halves its work."""
    shape = task.shape
    is_causal = shape.q_len == shape.kv_len and bool(causality.prove(task.pattern, shape).holds)
    return replace(task, pattern=(causal if is_causal else full)())


class Compilers(Closing):
    """Workers that compile for a GPU side by side: a compiler that hangs or crashes costs the kernel that it was at.

    A context manager: the processes start with the first kernel that isn't in the cache, and end with the block.

    Attributes:
        limit_seconds: What a kernel may take.
        slowest: The most seconds that a kernel took.
        late: The kernels that took longer than they may.
    """

    def __init__(self, gpu: Gpu, workers: int, limit_seconds: float) -> None:
        """Raise ConfigError for fewer workers than one, or no time."""
        if workers < 1 or limit_seconds <= 0:
            raise ConfigError(
                f"{workers} workers, {limit_seconds} seconds a kernel.",
                rule="Both are more than 0.",
                fix="Use 2 and 60.",
            )
        self.gpu = gpu
        self.limit_seconds = limit_seconds
        self.slowest = 0.0
        self.late: set[Source] = set()
        self._workers = [Worker(compiling, (gpu,), {"TRITON_INTERPRET": "0"}) for _ in range(workers)]

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    def compile(
        self, sources: Iterable[Source], on_done: Callable[[int, int], None] = lambda done, count: None
    ) -> dict[Source, Result]:
        """Return each source's kernel, or in a line why there is none, in the sources' order.

        `on_done` gets how many of how many are done.
        """
        listed = list(dict.fromkeys(sources))
        results = {source: kept for source in listed if (kept := self._cached(source)) is not None}
        pending = deque(source for source in listed if source not in results)
        busy: dict[Worker, Compilation] = {}
        while pending or busy:
            on_done(len(results), len(listed))
            for worker in self._workers:
                if pending and worker not in busy:
                    busy[worker] = self._posted(worker, pending.popleft())
            for worker in _answered(busy):
                source, begin, _ = busy.pop(worker)
                results[source] = _result(worker.collect(None))
                self.slowest = max(self.slowest, time.monotonic() - begin)
            for worker in _late(busy):
                source, *_ = busy.pop(worker)
                worker.close()
                self.late.add(source)
                results[source] = f"the compiler took more than {self.limit_seconds:g} s"
        return {source: results[source] for source in listed}

    def _cached(self, source: Source) -> Result | None:
        """Return a kernel that was compiled before, why it can't be, or None."""
        try:
            return store.load(store.path_of(source, self.gpu))
        except (OSError, ValueError, AttnccError) as error:
            return f"{type(error).__name__}: {error}"

    def _posted(self, worker: Worker, source: Source) -> Compilation:
        worker.post(source)
        begin = time.monotonic()
        return source, begin, begin + self.limit_seconds


def compiling(gpu: Gpu) -> Callable[[Source], Compiled]:
    """Set a worker up that compiles for a GPU."""
    import triton.compiler  # noqa: F401  # once, before the clock of the first kernel runs

    def answer(source: Source) -> Compiled:
        kernel = compile(source, gpu)
        kernel.resources, kernel.mixes  # noqa: B018  # read here, side by side
        return kernel

    return answer


def _answered(busy: Mapping[Worker, Compilation]) -> list[Worker]:
    """Return the workers whose answer is there, waiting for one as long as none of them is late."""
    lost = [worker for worker in busy if worker.pipe is None]
    if lost or not busy:
        return lost
    left = min(deadline for _, _, deadline in busy.values()) - time.monotonic()
    pipes: dict[Any, Worker] = {worker.pipe: worker for worker in busy}
    return [pipes[ready] for ready in wait(list(pipes), None if math.isinf(left) else max(0.0, left))]


def _late(busy: Mapping[Worker, Compilation]) -> list[Worker]:
    return [worker for worker, (_, _, deadline) in busy.items() if deadline <= time.monotonic()]


def _result(answer: Compiled | Failure) -> Result:
    if isinstance(answer, Failure):
        return f"the compiler {answer.reason.removeprefix('it ')}" if answer.fatal else answer.reason
    return answer
