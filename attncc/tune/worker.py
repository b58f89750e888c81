"""Workers: processes of their own that answer questions, killed at a time limit and replaced where they died."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from attncc.errors import AttnccError

#: Seconds that a worker may take to start: it imports torch, and perhaps triton.
START_LIMIT = 120.0
#: Characters of a message that a report has room for.
LONGEST = 300

Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, in a line. `fatal`: the worker itself was lost."""

    reason: str
    fatal: bool = False


class Worker:
    """A process that calls `setup(*arguments)` once, and then what that returned with each question.

    `setup` is a function of a module, since the process is spawned: a crash, a hang or an abort of a compiler takes
    that process down and nothing else, and the next question goes to a new one. `environment` holds variables that the
    process sees in place of its parent's.
    """

    def __init__(
        self, setup: Callable[..., Answer], arguments: tuple[Any, ...], environment: Mapping[str, str] | None = None
    ) -> None:
        self._task = setup, arguments, dict(environment or {})
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, question: Any, limit: float) -> Any:
        """Return the answer to a question, or a Failure if there is none within `limit` seconds."""
        self.post(question)
        return self.collect(limit)

    def post(self, question: Any) -> None:
        """Send a question; `collect` waits for its answer."""
        if self._process is None:
            failed = self._start()
            if failed:
                self._failed: Failure | None = failed
                return
        self._failed = None
        assert self._pipe is not None
        try:
            self._pipe.send(question)
        except (BrokenPipeError, OSError):
            self._failed = self._lost()

    def collect(self, limit: float) -> Any:
        """Return the answer to the question that was posted, or a Failure."""
        if self._failed is not None:
            return self._failed
        return self._received(limit, f"it took more than {limit:.3g} s")

    @property
    def pipe(self) -> Connection | None:
        """What becomes readable when the answer is there; None if there won't be one."""
        return None if self._failed is not None else self._pipe

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            assert self._pipe is not None
            self._pipe.close()
            self._process = self._pipe = None

    def _start(self) -> Failure | None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._task), daemon=True)
        self._process.start()
        theirs.close()
        ready = self._received(START_LIMIT, f"it did not start within {START_LIMIT:.0f} s")
        if not isinstance(ready, Failure):
            return None
        self.close()
        return Failure(ready.reason, fatal=True)

    def _received(self, limit: float, late: str) -> Any:
        assert self._pipe is not None
        try:
            if self._pipe.poll(limit):
                return self._pipe.recv()
        except (EOFError, OSError):
            return self._lost()
        self.close()
        return Failure(late, fatal=True)

    def _lost(self) -> Failure:
        assert self._process is not None
        self._process.join(1.0)
        code = self._process.exitcode
        self.close()
        return Failure(f"it crashed ({_cause(code)})", fatal=True)


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _serve(
    pipe: Connection, setup: Callable[..., Answer], arguments: tuple[Any, ...], environment: Mapping[str, str]
) -> None:
    """Answer until the parent hangs up; an error is a Failure, and only a crash ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    os.environ.update(environment)
    sys.stdout = sys.stderr  # a compiler's prints are no result
    answer: Answer | None = None
    first = _tried(lambda: setup(*arguments))
    pipe.send(first if isinstance(first, Failure) else "ready")
    if isinstance(first, Failure):
        return
    answer = first
    while True:
        try:
            question = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_tried(lambda question=question: answer(question)))


def _tried(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except AttnccError as error:
        return Failure(error.problem[:LONGEST])
    except MemoryError:
        return Failure("there was not enough memory")
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}".partition("\n")[0][:LONGEST])
