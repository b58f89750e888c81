"""Locks between processes, by files in a cache; who waits for one is told for whom."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attncc._util.storage import check_inside, make_folder, put_unchecked, read
from attncc.errors import ConfigError, printable

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOG = logging.getLogger("attncc")
#: Seconds that a process waits before it says so.
SILENCE = 5.0
#: Bytes of what a holder says of itself.
_LARGEST = 4096


def _logged(sentence: str) -> None:
    LOG.warning("%s", sentence)


@contextmanager
def locked(
    path: Path, what: str, *, root: Path, wait: float | None = None, on_wait: Callable[[str], None] = _logged
) -> Iterator[None]:
    """Hold the lock of a file, whose folder is made; the system lifts it when its holder dies, however that happens.

    After SILENCE seconds of waiting, a sentence says who holds it, and what to do.

    Args:
        path: The file, which stays there. The file beside it that ends in .holder says who holds the lock.
        what: What the lock is for, as in "Waiting for ...".
        root: The folder that links may not lead out of.
        wait: Seconds after which to give up; None is to wait as long as it takes.
        on_wait: Gets that sentence; by default, the log does, as a warning.

    Raises:
        OSError: The file can't be made or locked; TimeoutError, which is one, after `wait` seconds.
    """
    from filelock import FileLock

    make_folder(path.parent)
    check_inside(path, root)
    lock, holder = FileLock(path), path.with_suffix(".holder")
    try:
        _acquire(lock, holder, what, wait, on_wait)
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, str(error), str(path)) from error
    try:
        with suppress(OSError):  # others wait without a name
            put_unchecked(holder, json.dumps(_self()).encode(), durable=False)
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: BaseFileLock, holder: Path, what: str, wait: float | None, on_wait: Callable[[str], None]) -> None:
    from filelock import Timeout

    try:
        lock.acquire(timeout=SILENCE if wait is None else min(SILENCE, wait))
        return
    except Timeout:
        who = _described(holder)
    limit = "as long as it takes" if wait is None else f"at most {wait:.0f} s"
    said = f"Waiting for {what}, {limit}: {who} holds the lock {lock.lock_file}. End that process if it hangs."
    on_wait(printable(said))
    try:
        lock.acquire(timeout=-1 if wait is None else max(0.0, wait - SILENCE))
    except Timeout as error:
        raise TimeoutError(errno.ETIMEDOUT, f"{who} held the lock {lock.lock_file} for {wait:.0f} s") from error


def _self() -> dict[str, object]:
    """Return what this process says of itself; of its arguments only the first, since later ones may be secrets."""
    program = Path(sys.argv[0]) if sys.argv else Path(sys.executable)
    name = program.parent.name if program.name == "__main__.py" else program.name
    arguments = itertools.takewhile(lambda argument: not argument.startswith("-"), sys.argv[1:3])
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "command": " ".join([name, *arguments]),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _described(holder: Path) -> str:
    """Return who holds a lock, as far as it says so."""
    try:
        holding = json.loads(read(holder, _LARGEST))
        said = {name: printable(holding[name]) for name in ("pid", "host", "command", "since")}
    except (OSError, ConfigError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
    return "process {pid} on {host} ({command}, since {since})".format(**said)
