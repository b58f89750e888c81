"""Workers: processes of their own that answer questions, killed at a time limit and replaced where they died."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from attncc._util.closing import Closing
from attncc.errors import AttnccError

#: Seconds that a worker may take to start: it imports torch, and perhaps triton, beside other work of the machine.
START_LIMIT = 600.0
#: Seconds for the exit of a worker that no longer answers: a busy machine takes long to end a process.
EXIT_LIMIT = 10.0
#: Characters of a message that a report has room for.
LONGEST = 300
READY = "ready"

Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, in a line. `fatal`: the worker itself was lost. `late`: it took longer than it may."""

    reason: str
    fatal: bool = False
    late: bool = False


class Worker(Closing):
    """A process that calls `setup(*arguments)` once, and then what that returned with each question.

    A crash, a hang or an abort of a compiler takes that process down and nothing else. The next question goes to a new
    one. `setup` is a function of a module that can be imported. `environment` holds variables that the process sees in
    place of its parent's. It runs no code of the parent's main module, as multiprocessing's would.
    """

    def __init__(
        self, setup: Callable[..., Answer], arguments: tuple[Any, ...], environment: Mapping[str, str] | None = None
    ) -> None:
        self._task = setup, arguments
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._failed: Failure | None = None
        self._is_starting = False

    def start(self) -> None:
        """Start the process, if there is none, without waiting until it can answer."""
        if self._pipe is None:
            self._launch()

    def ask(self, question: Any, limit: float | None) -> Any:
        """Return the answer to a question, or a Failure if there is none within `limit` seconds (None: any number)."""
        self.post(question)
        return self.collect(limit)

    def post(self, question: Any) -> None:
        """Send a question; `collect` waits for its answer."""
        self.start()
        self._failed = self._started() if self._is_starting else None
        if self._failed is None:
            self._failed = self._sent(question)

    def collect(self, limit: float | None) -> Any:
        """Return the answer to the question that was posted, or a Failure."""
        return self._failed or self._received(limit, "" if limit is None else f"it took more than {limit:.3g} s")

    @property
    def pipe(self) -> Connection | None:
        """What becomes readable when the answer is there; None if there won't be one."""
        return None if self._failed is not None else self._pipe

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group, with what it started
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
        self._is_starting = False

    def _launch(self) -> None:
        """Start a process and send it what it is for."""
        self._pipe, theirs = Pipe()
        program = f"from attncc.tune.worker import serve; serve({theirs.fileno()}, {os.getpid()})"
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = {**os.environ, **self._environment, "PYTHONPATH": paths}
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what a compiler prints would tear a live table
            start_new_session=True,
        )
        theirs.close()
        self._is_starting = True
        with contextlib.suppress(OSError):  # of a process that died at once, which reading its answer tells
            self._pipe.send_bytes(pickle.dumps(self._task))

    def _started(self) -> Failure | None:
        """Wait until the process can answer; return why it can't, if so."""
        self._is_starting = False
        answer = self._received(START_LIMIT, f"it took more than {START_LIMIT:.0f} s to start")
        if answer == READY:
            return None
        self.close()
        return Failure(answer.reason, fatal=True, late=answer.late)

    def _sent(self, message: Any) -> Failure | None:
        assert self._pipe is not None
        try:
            self._pipe.send_bytes(pickle.dumps(message))  # tensors by value: send() would share their memory by handles
        except OSError:
            return self._lost()
        return None

    def _received(self, limit: float | None, late: str) -> Any:
        assert self._pipe is not None
        try:
            if self._pipe.poll(limit):
                return self._pipe.recv()
        except (EOFError, OSError):
            return self._lost()
        self.close()
        return Failure(late, fatal=True, late=True)

    def _lost(self) -> Failure:
        assert self._process is not None
        try:
            code = self._process.wait(EXIT_LIMIT)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        return Failure(f"it crashed ({_cause(code)})", fatal=True)


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def serve(handle: int, parent: int) -> None:
    """Be a worker on one end of a pipe: an error is a Failure, and only a crash ends the process before its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    pipe = Connection(handle)
    try:
        setup, arguments = pipe.recv()
        answer = _tried(lambda: setup(*arguments))
        pipe.send(answer if isinstance(answer, Failure) else READY)
        while not isinstance(answer, Failure):
            pipe.send(_tried(partial(answer, pipe.recv())))
    except (EOFError, OSError):  # the parent is gone
        return


def _end_with(parent: int) -> None:
    """End this process, also in the middle of its work, when its parent has died."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _tried(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except AttnccError as error:
        return Failure(" ".join(error.problem.split())[:LONGEST])
    except MemoryError:
        return Failure("there was not enough memory")
    except Exception as error:
        return Failure(" ".join(f"{type(error).__name__}: {error}".split())[:LONGEST])
