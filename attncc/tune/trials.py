"""The log of trials: a file of JSON lines that Optuna's journal storage reads and writes, safe against kills.

Only whole lines count, so that a line cut off by a kill or a full disk is skipped by every reader alike. Where the
file can't be written, the log goes on in memory, with one warning.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend

from attncc.errors import ConfigError
from attncc.storage import CacheWarning, warn_unwritable

#: Bytes of a log that are read; more is not a log of ours.
LARGEST = 1 << 28


class TrialLog(BaseJournalBackend):
    """A journal backend on one file; processes take turns by a lock that the system lifts when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"))
        self._lines: list[dict[str, Any]] = []
        self._offset = 0
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
            except OSError as error:
                self._catch_up()
                self._in_memory = True
                warn_unwritable(self._path, error)
        self._lines += json.loads(json.dumps(logs))

    def _append(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._lock, self._path.open("ab") as file:
            if self._ends_within_a_line():
                text = "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _ends_within_a_line(self) -> bool:
        size = self._path.stat().st_size
        if not size:
            return False
        with self._path.open("rb") as file:
            file.seek(size - 1)
            return file.read() != b"\n"

    def _catch_up(self) -> None:
        """Read what was appended since; a line that is no JSON object is skipped, today and by everyone."""
        if self._in_memory or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read(LARGEST)
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._lines += _objects(whole.splitlines())


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


@contextmanager
def storage(path: Path | None, url: str | None = None) -> Iterator[BaseStorage]:
    """Open the storage of trials: a database by its URL, a log file, or memory where neither can be had.

    Raises ConfigError for a URL that can't be used.
    """
    found = _database(url) if url else _log(path)
    try:
        yield found
    finally:
        if isinstance(found, RDBStorage):
            found.remove_session()
            found.engine.dispose()  # or its connections stay open until the process ends


def _log(path: Path | None) -> BaseStorage:
    if path is None:
        return InMemoryStorage()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            pass
    except OSError as error:
        warn_unwritable(path, error)
        return InMemoryStorage()
    try:
        return JournalStorage(TrialLog(path))
    except Exception:  # a log that was tampered with fails anywhere in the replay
        return _afresh(path)


def _afresh(path: Path) -> BaseStorage:
    """Put a log that can't be replayed aside."""
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


def quiet() -> None:
    """Keep Optuna's own log from the terminal; attncc shows the trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
