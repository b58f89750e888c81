"""Bundles: entries as one file, for a fleet of machines. No name in the file becomes a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from attncc._util import storage
from attncc.configs import validation
from attncc.configs.entry import Entry
from attncc.configs.store import Store
from attncc.errors import ConfigError

FORMAT = 1
MAX_BYTES = 64 << 20
MAX_ENTRIES = 1 << 16
#: Shows a number of steps (None: unknown): the function that it yields is called with the name of each.
Progress = Callable[[int | None], AbstractContextManager[Callable[[str], None]]]
_RULE = "It is a file that `attncc cache export` wrote."


@dataclass(frozen=True)
class Imported:
    """The outcome of an import: entries written, entries that the store has better ones of, reasons of refusals."""

    written: tuple[Entry, ...]
    kept: tuple[Entry, ...]
    refused: tuple[str, ...]


def content(entries: Iterable[Entry]) -> bytes:
    """Return the content of a bundle; raises ConfigError where it would be too large to be read again."""
    described = [entry.describe() for entry in entries]
    text = (json.dumps({"format": FORMAT, "entries": described}, indent=1, allow_nan=False) + "\n").encode()
    if len(text) > MAX_BYTES or len(described) > MAX_ENTRIES:
        validation.refuse(
            f"The bundle has {len(described):,} entries and {len(text):,} bytes",
            f"A bundle has at most {MAX_ENTRIES:,} and {MAX_BYTES:,}",
        )
    return text


def save(entries: Iterable[Entry], path: Path, option: str = "FILE") -> None:
    """Write a bundle to the file that an option names; raises ConfigError, also for one that can't be written."""
    storage.save(path, content(entries), option)


def parsed(text: bytes) -> tuple[list[Entry], list[str]]:
    """Return a bundle's entries, and the problems of damaged ones; raises ConfigError for another text."""
    bundle = validation.record(validation.decoded(text), ("format", "entries"), "A bundle")
    if bundle["format"] != FORMAT:
        validation.refuse(f"format is {bundle['format']!r:.60}", f"This attncc reads bundles of format {FORMAT}.")
    entries, refused = [], []
    for number, value in enumerate(validation.sequence(bundle["entries"], "entries", MAX_ENTRIES), start=1):
        try:
            entry = Entry.parse(value)
            entry.content()
        except ConfigError as error:
            refused.append(f"Entry {number}{_called(value)}: {validation.said(error)}")
        else:
            entries.append(entry)
    return entries, refused


@contextmanager
def _silent(total: int | None) -> Iterator[Callable[[str], None]]:
    yield lambda step: None


def load(path: Path, store: Store, progress: Progress = _silent) -> Imported:
    """Save the entries of a bundle in a store, under the names that their contents have.

    A measured entry is never replaced by a modelled one. `progress` shows reading, then writing entry by entry. Raises
    ConfigError for a file that isn't a bundle, and for a store that can't be written to.
    """
    storage.check_folder(store.root, "The store")
    with progress(None) as on_step:
        on_step(f"reading {path}")
        entries, refused = _read(path)
    with progress(len(entries)) as on_step:
        written = store.save_all(entries, lambda entry: on_step(f"writing to {store.root}"))
    done = set(map(id, written))
    return Imported(tuple(written), tuple(entry for entry in entries if id(entry) not in done), tuple(refused))


def _read(path: Path) -> tuple[list[Entry], list[str]]:
    try:
        text = storage.read(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}.",
            rule=_RULE,
            fix="Check the path.",
        ) from error
    try:
        return parsed(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.problem}", rule=error.rule or _RULE, fix="Export it again.") from error


def _called(value: object) -> str:
    """Return the pattern that an entry says it is of, if it says so printably."""
    about = value.get("about") if isinstance(value, dict) else None
    name = about.get("pattern") if isinstance(about, dict) else None
    return f" ({name:.60})" if isinstance(name, str) and name.isprintable() else ""
