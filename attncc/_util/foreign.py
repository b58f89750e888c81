"""Running the code of plugins and files: with a time limit, apart from the output, and one at a time.

Python can't end an import from outside. In the main thread a signal interrupts it, wherever the interpreter gets to
run: also in a sleep, or a read from a socket. In another thread, and inside of compiled code, it goes on; then all
that can be done is to say so.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType

from attncc.errors import ConfigError, PluginError, printable

LOG = logging.getLogger("attncc")
#: Seconds that an import may take; 0 is no limit.
TIMEOUT = "ATTNCC_PLUGIN_TIMEOUT"
DEFAULT_TIMEOUT = 60.0
#: Seconds after which the log says what is being imported, and those between two interruptions.
SILENCE, AGAIN = 5.0, 1.0
#: Ignored wherever nobody handles it, so that one that comes late does no harm.
_SIGNAL = getattr(signal, "SIGURG", None)
_turn = threading.RLock()


class TooLong(BaseException):
    """An import was interrupted; no Exception, so that the code that is imported doesn't take it for one of its own."""


def timeout() -> float:
    """Return the seconds of ATTNCC_PLUGIN_TIMEOUT; raises ConfigError for what is no number of seconds."""
    text = os.environ.get(TIMEOUT) or str(DEFAULT_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < threading.TIMEOUT_MAX:
        raise ConfigError(f"{TIMEOUT}={text!r}.", rule="It is a number of seconds, or 0 for no limit.", fix="Unset it.")
    return seconds


@contextmanager
def turn(what: str) -> Iterator[None]:
    """Hold what one thread holds at a time, as often as it likes; raises PluginError where another one takes too long.

    Args:
        what: What wants to run, to begin a sentence with.
    """
    limit = timeout()
    if not _turn.acquire(timeout=limit or -1):
        raise PluginError(
            f"{what} can't be imported: another thread has been importing for more than {limit:g} s.",
            rule="Plugins and files of patterns are imported one at a time.",
            fix=f"Import them in the main thread, where they can be interrupted, or set {TIMEOUT} to a longer time.",
        )
    try:
        yield
    finally:
        _turn.release()


@contextmanager
def running(what: str, hint: str = "") -> Iterator[None]:
    """Run foreign code: what it prints goes to stderr, and it is interrupted after `timeout()` seconds.

    One thread at a time does so, since there is one stdout. A process that the code forks, and that comes back from
    it, ends here.

    Args:
        what: What runs, to begin a sentence with.
        hint: What to do about it, as a sentence.

    Raises:
        TooLong: It was interrupted, in the main thread.
        PluginError: Another thread takes longer than the limit.
        ConfigError: The limit isn't a number.
    """
    process, stderr = os.getpid(), sys.stderr
    with turn(what):
        try:
            with redirect_stdout(stderr), _watched(what, hint, timeout()):
                yield
        finally:
            sys.stderr = stderr
            if os.getpid() != process:
                os._exit(1)  # otherwise it would do once more what its parent does


@contextmanager
def _watched(what: str, hint: str, limit: float) -> Iterator[None]:
    """Say that something takes long, and interrupt it after a limit, where that can be done."""
    done, late = threading.Event(), threading.Event()
    restore = _handled(done, late) if limit else None
    watcher = threading.Thread(target=_watch, args=(what, hint, limit, restore is not None, done, late), daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            done.set()
    finally:
        done.set()  # once more, for an interruption just before
        if restore is not None:
            restore()


def _watch(
    what: str, hint: str, limit: float, interruptible: bool, done: threading.Event, late: threading.Event
) -> None:
    if not done.wait(min(SILENCE, limit or SILENCE)):
        until = f"is interrupted after {limit:g} s ({TIMEOUT})" if interruptible else "can't be interrupted here"
        LOG.warning("%s", printable(f"{what} is still being imported, and {until}. {hint}".rstrip()))
    if not interruptible or done.wait(max(0.0, limit - SILENCE)):
        return
    late.set()
    main = threading.main_thread().ident
    assert main is not None
    assert _SIGNAL is not None
    signal.pthread_kill(main, _SIGNAL)
    while not done.wait(AGAIN):  # it catches everything, or is in compiled code
        signal.pthread_kill(main, _SIGNAL)


def _handled(done: threading.Event, late: threading.Event) -> Callable[[], None] | None:
    """Have the signal interrupt the main thread; return what undoes that, or None where it can't be done."""
    if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
        return None
    before = signal.getsignal(_SIGNAL)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if late.is_set() and not done.is_set():
            raise TooLong
        if callable(before):
            before(number, frame)

    try:
        signal.signal(_SIGNAL, interrupt)
    except ValueError:  # of another interpreter than the main one
        return None
    return lambda: _restore(before)


def _restore(before: object) -> None:
    assert _SIGNAL is not None
    signal.signal(_SIGNAL, before or signal.SIG_DFL)  # type: ignore[arg-type]  # None: not set from Python
