"""Stores: folders of entries, one file each, that many processes read and write at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from attncc._util.locking import locked
from attncc._util.storage import (
    ENVIRONMENT,
    Writer,
    cache_folder,
    check_inside,
    make_folder,
    put,
    read,
    warn_once,
    warn_unwritable,
)
from attncc.configs import validation
from attncc.configs.entry import MAX_BYTES, Entry
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.errors import ConfigError

#: Seconds to wait for another process that writes the same entry.
PATIENCE = 30.0
#: Entries that are written before others get a turn.
BATCH = 256
_DESCRIPTION = "environment.json"


@dataclass(frozen=True)
class Store:
    """A folder: `<environment's digest>/winners/<key's digest>.json`, and trials of tuning beside the winners."""

    root: Path

    def folder(self, environment: Environment) -> Path:
        """Return the folder of an environment; it need not exist."""
        return self.root / environment.digest

    def winners(self, environment: Environment) -> Path:
        """Return the folder of an environment's entries; it need not exist."""
        return self.folder(environment) / "winners"

    def path(self, environment: Environment, key: Key) -> Path:
        """Return the file of an entry; it need not exist."""
        return self.winners(environment) / _file_name(key)

    def trials(self, environment: Environment, name: str) -> Path | None:
        """Return where the tuner may keep a file of this name, its folder made; None where it can't be made."""
        path = self.folder(environment) / "trials" / validation.name(name, "The name of a file of trials")
        try:
            make_folder(path.parent)
            check_inside(path, self.root)
            self._describe(environment)
        except OSError as error:
            warn_unwritable(self.root, error)
            return None
        return path

    def load(self, environment: Environment, key: Key) -> Entry | None:
        """Return an entry, or None without one; a file that isn't its entry is a miss, with one warning."""
        return _entry(self.path(environment, key))

    def save(self, entry: Entry) -> bool:
        """Write an entry and return whether it was written.

        It isn't where it is modelled and a measured one is there, nor where it can't be written, which is warned of.
        Raises ConfigError for an entry too large to be read again.
        """
        return bool(self._save(entry.environment, [entry], lambda entry: None, durable=True))

    def save_all(self, entries: Iterable[Entry], on_entry: Callable[[Entry], None] = lambda entry: None) -> list[Entry]:
        """Write many entries as `save` does each, and return those that were written; `on_entry` gets each before.

        It doesn't wait for the disk: an entry that is lost when the power fails is a miss, and can be saved again.
        """
        batches: dict[Environment, list[list[Entry]]] = {}
        for entry in entries:
            of_one = batches.setdefault(entry.environment, [[]])
            if len(of_one[-1]) == BATCH:
                of_one.append([])
            of_one[-1].append(entry)
        return [
            entry
            for environment, of_one in batches.items()
            for batch in of_one
            for entry in self._save(environment, batch, on_entry, durable=False)
        ]

    def check_readable(self) -> None:
        """Raise ConfigError where the folder is there, but can't be read; without one there are no entries."""
        try:
            os.scandir(self.root).close()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(
                f"{self.root} can't be read: {error.strerror}.",
                rule="It is a folder that this user can read.",
                fix=f"Make it one, or set {ENVIRONMENT} to another folder.",
            ) from error

    def remove(self, entry: Entry) -> None:
        """Remove an entry's file, if it is there; raises OSError."""
        self.path(entry.environment, entry.key).unlink(missing_ok=True)

    def remove_environment(self, digest: str) -> None:
        """Remove an environment's folder with all that is in it, or a link in its place; raises OSError."""
        if not validation.is_digest(digest):
            return
        folder = self.root / digest
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)

    def entries(self, environment: Environment | None = None) -> Iterator[Entry]:
        """Yield the entries of an environment, or of all; a file that isn't its entry is warned of once."""
        for path in self.files(environment):
            entry = _entry(path)
            if entry is not None:
                yield entry

    def files(self, environment: Environment | None = None) -> Iterator[Path]:
        """Yield the entries' files, of an environment or of all, in a fixed order."""
        folders = self.environments() if environment is None else [self.folder(environment)]
        for folder in folders:
            yield from _children(folder / "winners", lambda path: path.suffix == ".json")

    def environments(self) -> list[Path]:
        """Return the folders of environments."""
        return list(_children(self.root, lambda path: validation.is_digest(path.name) and path.is_dir()))

    def described(self, folder: Path) -> Environment | None:
        """Return the environment that a folder describes, or None where the description is missing or another's."""
        try:
            environment = Environment.parse(validation.decoded(read(folder / _DESCRIPTION, MAX_BYTES)))
        except (OSError, ConfigError):
            return None
        return environment if environment.digest == folder.name else None

    def _save(
        self, environment: Environment, batch: Sequence[Entry], on_entry: Callable[[Entry], None], *, durable: bool
    ) -> list[Entry]:
        """Write entries of an environment under its lock; return those that were written."""
        contents = [(entry, entry.content()) for entry in batch]
        written: list[Entry] = []
        try:
            with locked(self.folder(environment) / "winners.lock", "the cache", root=self.root, wait=PATIENCE):
                self._describe(environment)
                make_folder(self.winners(environment))
                check_inside(self.winners(environment) / "any", self.root)
                writer = Writer(self.winners(environment), durable=durable)
                for entry, content in contents:
                    on_entry(entry)
                    if not self._is_outdone(entry):
                        writer.put(_file_name(entry.key), content)
                        written.append(entry)
        except OSError as error:
            warn_unwritable(self.root, error)
        return written

    def _is_outdone(self, entry: Entry) -> bool:
        """Return whether an entry is modelled, and a measured one is there."""
        there = self.load(entry.environment, entry.key) if entry.mode == "modelled" else None
        return there is not None and there.mode == "measured"

    def _describe(self, environment: Environment) -> None:
        path = self.folder(environment) / _DESCRIPTION
        if self.described(path.parent) is None:
            put(path, validation.canonical(environment.describe()).encode(), self.root)


def user_store() -> Store:
    """Return the store of this user, under ATTNCC_CACHE_DIR or the platform's place for caches."""
    return Store(cache_folder("tuned"))


def _file_name(key: Key) -> str:
    return f"{key.digest}.json"


def checked(path: Path) -> Entry:
    """Return the entry of a store's file; raises OSError, or ConfigError where it isn't the one it is named for."""
    entry = Entry.read(path)
    if (entry.key.digest, entry.environment.digest) != (path.stem, path.parent.parent.name):
        validation.refuse(f"{path} holds an entry of another key or environment")
    return entry


def _entry(path: Path) -> Entry | None:
    try:
        status = path.stat()
    except OSError:  # none there, or none that may be read
        return None
    return _read(path, status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=4096)
def _read(path: Path, *version: int) -> Entry | None:
    """Read a version of a file."""
    try:
        return checked(path)
    except FileNotFoundError:
        return None
    except (OSError, ConfigError) as error:
        warn_once(f"{path} is not used: {validation.said(error)} `attncc cache verify` lists such files.", str(path))
        return None


def _children(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    yield from filter(wanted, children)
