"""Workers that compile kernels side by side: a compiler that hangs or crashes costs the kernel that it was at."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any

from attncc.errors import AttnccError, ConfigError
from attncc.machine_code import store
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile
from attncc.machine_code.source import Source
from attncc.targets import Gpu
from attncc.tune.worker import Failure, Worker

#: A kernel, or in a line why there is none.
Result = Compiled | str
#: What a worker is at, since when, and until when it may be.
Task = tuple[Source, float, float]


def compiling(gpu: Gpu) -> Callable[[Source], Compiled]:
    """Set a worker up that compiles for a GPU."""
    import triton.compiler  # noqa: F401  # once, before the clock of the first kernel runs

    def answer(source: Source) -> Compiled:
        found = compile(source, gpu)
        found.resources, found.mixes  # noqa: B018  # read here, side by side
        return found

    return answer


class Compilers:
    """Compiles for a GPU in up to `workers` processes, none of which may take longer than `limit_seconds` for a kernel.

    A context manager: the processes start with the first kernel that isn't in the cache, and end with the block.
    slowest: the most seconds that a kernel took; late: the kernels that took longer than they may.
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

    def __enter__(self) -> Compilers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def compile(
        self, sources: Iterable[Source], on_done: Callable[[int, int], None] = lambda done, count: None
    ) -> dict[Source, Result]:
        """Return each source's kernel, or in a line why there is none, in the sources' order.

        `on_done` gets how many of how many are done.
        """
        listed = list(dict.fromkeys(sources))
        found = {source: kept for source in listed if (kept := self._kept(source)) is not None}
        pending = deque(source for source in listed if source not in found)
        busy: dict[Worker, Task] = {}
        while pending or busy:
            on_done(len(found), len(listed))
            for worker in self._workers:
                if pending and worker not in busy:
                    busy[worker] = self._given(worker, pending.popleft())
            for worker in _answered(busy):
                source, begin, _ = busy.pop(worker)
                found[source] = _result(worker.collect(None))
                self.slowest = max(self.slowest, time.monotonic() - begin)
            for worker in _late(busy):
                source, *_ = busy.pop(worker)
                worker.close()
                self.late.add(source)
                found[source] = f"the compiler took more than {self.limit_seconds:g} s"
        return {source: found[source] for source in listed}

    def _kept(self, source: Source) -> Result | None:
        """Return a kernel that was compiled before, why it can't be, or None."""
        try:
            return store.load(store.path_of(source, self.gpu))
        except (OSError, ValueError, AttnccError) as error:
            return f"{type(error).__name__}: {error}"

    def _given(self, worker: Worker, source: Source) -> Task:
        worker.post(source)
        begin = time.monotonic()
        return source, begin, begin + self.limit_seconds


def _answered(busy: Mapping[Worker, Task]) -> list[Worker]:
    """Return the workers whose answer is there, waiting for one as long as none of them is late."""
    lost = [worker for worker in busy if worker.pipe is None]
    if lost or not busy:
        return lost
    left = min(deadline for _, _, deadline in busy.values()) - time.monotonic()
    pipes: dict[Any, Worker] = {worker.pipe: worker for worker in busy}
    return [pipes[ready] for ready in wait(list(pipes), None if math.isinf(left) else max(0.0, left))]


def _late(busy: Mapping[Worker, Task]) -> list[Worker]:
    return [worker for worker, (_, _, deadline) in busy.items() if deadline <= time.monotonic()]


def _result(answer: Compiled | Failure) -> Result:
    if isinstance(answer, Failure):
        return f"the compiler {answer.reason.removeprefix('it ')}" if answer.fatal else answer.reason
    return answer
