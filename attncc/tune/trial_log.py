"""The log of trials: a file of JSON lines that Optuna's journal storage reads and writes, safe against kills.

Each line begins with a mark, a hash of it and of the mark before, so that damage is seen wherever it is. A damaged log
is put aside, since who skipped a line would take one trial for another. Only whole lines count: what a kill or a full
disk left of one is cut off by the next process that writes. Where the file can't be written, the log goes on in memory,
with one warning.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend

from attncc._util.locking import locked
from attncc._util.storage import CacheWarning, appended, opened, warn_unwritable
from attncc.errors import ConfigError

#: Bytes of a log that are read; more is not a log of ours.
LARGEST = 1 << 28
#: Bytes of a line; that of a trial has some hundred.
LONGEST_LINE = 1 << 20


class TrialLog(BaseJournalBackend):
    """A journal backend on one file; processes take turns by a lock that the system lifts when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[dict[str, Any]] = []
        self._offset = 0
        self._mark = b""
        self._in_memory = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the operations from a number on."""
        self._catch_up()
        yield from self._lines[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations."""
        if not self._in_memory:
            try:
                self._append(logs)
                return
            except (OSError, ConfigError) as error:
                self._catch_up()
                self._in_memory = True
                warn_unwritable(self._path, error)
        self._lines += json.loads(json.dumps(logs))

    def _append(self, logs: list[dict[str, Any]]) -> None:
        with locked_log(self._path), appended(self._path) as file:
            self._catch_up()
            mark, content = self._mark, b""
            for log in logs:
                text = json.dumps(log, separators=(",", ":")).encode()
                mark = _marked(mark, text)
                content += mark + b" " + text + b"\n"
            size = file.seek(0, os.SEEK_END)
            if size + len(content) >= LARGEST:
                raise OSError(errno.EFBIG, f"{self._path.name} has {size:,} bytes, and at most {LARGEST:,} are read")
            if size < self._offset:
                raise self._damaged()
            file.truncate(self._offset)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _catch_up(self) -> None:
        """Read the lines appended since; raises ConfigError for a line that doesn't follow the last one."""
        if self._in_memory:
            return
        try:
            file = opened(self._path)
        except (OSError, ConfigError):  # none there yet, or none that can be read: appending to it says so
            return
        with file:
            file.seek(self._offset)
            while self._offset < LARGEST and (line := file.readline(LONGEST_LINE)):
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:  # under way, or cut off
                    return
                self._lines.append(self._parsed(line))
                self._offset += len(line)

    def _parsed(self, line: bytes) -> dict[str, Any]:
        mark, _, text = line[:-1].partition(b" ")
        if mark != _marked(self._mark, text):
            raise self._damaged()
        self._mark = mark
        operation: dict[str, Any] = json.loads(text)
        return operation

    def _damaged(self) -> ConfigError:
        return ConfigError(
            f"{self._path} was damaged while it was in use.",
            rule="Only attncc writes logs of trials.",
            fix="Tune again: it is put aside then.",
        )


def _marked(before: bytes, text: bytes) -> bytes:
    """Return the mark of a line: a hash of the text, and of the mark before it."""
    return hashlib.sha256(before + text).hexdigest()[:16].encode()


def locked_log(path: Path) -> AbstractContextManager[None]:
    """Return the lock of a log."""
    return locked(path.with_suffix(".lock"), "the log of trials", root=path.parent)


@contextmanager
def storage(path: Path | None, url: str | None = None) -> Iterator[BaseStorage]:
    """Open the storage of trials: a database by its URL, a log file, or memory where neither can be had.

    Raises ConfigError for a URL that can't be used.
    """
    trials = _database(url) if url else _log(path)
    try:
        yield trials
    finally:
        if isinstance(trials, RDBStorage):
            trials.remove_session()
            trials.engine.dispose()  # or its connections stay open until the process ends


def _log(path: Path | None) -> BaseStorage:
    if path is None:
        return InMemoryStorage()
    try:
        with locked_log(path):
            usable = _is_usable(path)
    except OSError as error:
        warn_unwritable(path, error)
        return InMemoryStorage()
    if not usable:
        return _afresh(path)
    try:
        return JournalStorage(TrialLog(path))
    except Exception:  # a log that was tampered with fails anywhere in the replay
        return _afresh(path)


def _is_usable(path: Path) -> bool:
    """Return whether there is no log yet, or a file of at most LARGEST bytes, and no link, pipe or folder."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_size < LARGEST


def _afresh(path: Path) -> BaseStorage:
    """Put a log that can't be read or replayed aside."""
    aside = path.with_suffix(".damaged")
    warnings.warn(f"{path} was damaged; it lies at {aside.name}, and tuning begins anew.", CacheWarning, stacklevel=3)
    try:
        path.replace(aside)
    except OSError:
        return InMemoryStorage()
    return JournalStorage(TrialLog(path))


def _database(url: str) -> BaseStorage:
    try:
        return RDBStorage(url)
    except Exception as error:  # SQLAlchemy and drivers raise what they please
        raise ConfigError(
            f"--storage {url!r}: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            rule="It is a database URL as SQLAlchemy takes it, with its driver installed.",
            fix="For example sqlite:///trials.db, or postgresql+psycopg://host/trials",
        ) from error
