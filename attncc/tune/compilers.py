"""Processes that compile kernels: a compiler that hangs, aborts or crashes costs the kernel it was at, and no more."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from attncc.errors import AttnccError, BackendError, ConfigError
from attncc.machine_code import store
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile
from attncc.machine_code.source import Source
from attncc.targets import Gpu

#: A kernel, or in a line why there is none.
Result = Compiled | str
#: Seconds that a process has to start and to import the compiler.
START_SECONDS = 120.0
#: Seconds after the limit at which a process ends itself, should nobody have ended it.
_GRACE = 5
_READY = "ready"


@dataclass
class _Worker:
    """A process, this end of its pipe, what it is at (None: starting, or idle), and until when it may be."""

    process: SpawnProcess
    connection: Connection
    deadline: float
    source: Source | None = None
    ready: bool = False

    @property
    def idle(self) -> bool:
        return self.ready and self.source is None

    def kill(self) -> None:
        """End the process and what it has started."""
        if self.ready and self.process.is_alive():  # it leads a group of its own by then
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.connection.close()


class Compilers:
    """Compiles for a GPU in up to `workers` processes, none of which may take longer than `limit_seconds` for a kernel.

    A context manager: the processes start with the first kernel that isn't in the cache, and end with the block.
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
        self.workers = workers
        self.limit_seconds = limit_seconds
        self._pool: list[_Worker] = []

    def __enter__(self) -> Compilers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._pool:
            worker.kill()
        self._pool.clear()

    def compile(self, sources: Iterable[Source]) -> dict[Source, Result]:
        """Return each source's kernel, or in a line why there is none, in the sources' order."""
        listed = list(dict.fromkeys(sources))
        found = dict(self.completed(listed))
        return {source: found[source] for source in listed}

    def completed(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Result]]:
        """Yield each source with its result as soon as there is one, those of the cache first."""
        pending: deque[Source] = deque()
        for source in dict.fromkeys(sources):
            kept = self._kept(source)
            if kept is None:
                pending.append(source)
            else:
                yield source, kept
        try:
            while pending or any(worker.source for worker in self._pool):
                self._assign(pending)
                yield from self._finished()
        finally:
            for worker in [each for each in self._pool if each.source]:  # nobody waits for these any more
                self._drop(worker)

    def _kept(self, source: Source) -> Result | None:
        """Return a kernel that was compiled before, why it can't be, or None."""
        try:
            return store.load(store.path_of(source, self.gpu))
        except (OSError, ValueError) as error:
            return _line(error)

    def _assign(self, pending: deque[Source]) -> None:
        """Give idle processes work, and start others for what is left."""
        for worker in self._pool:
            if pending and worker.idle:
                self._give(worker, pending.popleft())
        starting = sum(not worker.ready for worker in self._pool)
        for _ in range(min(self.workers - len(self._pool), len(pending) - starting)):
            self._pool.append(_started(self.gpu, self.limit_seconds))

    def _give(self, worker: _Worker, source: Source) -> None:
        worker.source = source
        worker.deadline = time.monotonic() + self.limit_seconds
        with contextlib.suppress(OSError):  # it has died meanwhile, which is found when it is read from
            worker.connection.send(source)

    def _finished(self) -> Iterator[tuple[Source, Result]]:
        """Wait until a process answers, dies or is late; yield what that decides."""
        waiting = [worker for worker in self._pool if not worker.idle]
        left = min(worker.deadline for worker in waiting) - time.monotonic()
        answered = wait([worker.connection for worker in waiting], max(0.0, left))
        for worker in waiting:
            if worker.connection in answered:
                yield from self._received(worker)
            elif time.monotonic() >= worker.deadline:
                yield from self._lost(worker, f"the compiler took more than {self.limit_seconds:g} s")

    def _received(self, worker: _Worker) -> Iterator[tuple[Source, Result]]:
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            yield from self._lost(worker, f"the compiler crashed ({_ending(worker.process.exitcode)})")
            return
        source, worker.source = worker.source, None
        worker.ready = True
        if source is not None:
            yield source, answer

    def _lost(self, worker: _Worker, reason: str) -> Iterator[tuple[Source, Result]]:
        """Drop a process; another one starts when there is work for it."""
        source = worker.source
        self._drop(worker)
        if source is not None:
            yield source, reason
            return
        raise BackendError(
            f"A process that compiles could not start: {reason}.",
            rule="Kernels are compiled in processes of their own.",
            fix="Free memory, or use fewer workers.",
        )

    def _drop(self, worker: _Worker) -> None:
        self._pool.remove(worker)
        worker.kill()


def _started(gpu: Gpu, limit_seconds: float) -> _Worker:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, gpu, limit_seconds), daemon=True, name="attncc compiler")
    process.start()
    there.close()
    return _Worker(process, here, time.monotonic() + START_SECONDS)


def _work(connection: Connection, gpu: Gpu, limit_seconds: float) -> None:
    """Compile what comes through the pipe until it closes; in a group of its own, which Ctrl-C doesn't reach."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)  # the compiler's own reports would tear a live table
    os.environ.pop("TRITON_INTERPRET", None)
    with contextlib.suppress(ImportError):  # then each kernel says so
        import triton.compiler  # noqa: F401
    with contextlib.suppress(EOFError, OSError):
        connection.send(_READY)
        while True:
            source = connection.recv()
            signal.alarm(int(limit_seconds) + _GRACE)  # it ends this process even where its parent has gone
            answer = _result(source, gpu)
            signal.alarm(0)
            connection.send(answer)


def _result(source: Source, gpu: Gpu) -> Result:
    try:
        found = compile(source, gpu)
        found.resources, found.mixes  # noqa: B018  # read here, side by side
    except Exception as error:  # a generated module, the compiler and its tools raise whatever they please
        return _line(error)
    return found


def _line(error: Exception) -> str:
    """Return an error in one line."""
    text = error.problem if isinstance(error, AttnccError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]


def _ending(code: int | None) -> str:
    """Return how a process ended: the signal that ended it, or its exit status."""
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"
