"""Sources of search spaces: where the shipped files lie, and a hash of what they say."""

from __future__ import annotations

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from attncc import backends
from attncc._util.storage import read
from attncc.errors import ConfigError

#: Bytes of a file that are read.
LARGEST = 1 << 20


def shipped(backend: str) -> list[Traversable]:
    """Return the files that attncc, its checkout, or the package of a third party's backend ships, by name."""
    packaged = resources.files("attncc").joinpath("search_spaces")
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "search_spaces"
    found = folder.joinpath(backend)
    if backend in backends.names() and not found.is_dir():
        found = backends.search_spaces(backend)
    files = [each for each in found.iterdir() if each.name.endswith(".toml")] if found.is_dir() else []
    return sorted(files, key=lambda each: each.name)


def content(file: Traversable) -> bytes:
    """Return what a file says; raises ConfigError for one that can't be read, or is too large to be a search space."""
    try:
        return read(file, LARGEST) if isinstance(file, Path) else file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file}: it can't be read: {error.strerror or error}.",
            rule="A search space is a TOML file.",
            fix="Check the path; search_spaces/README.md has the form.",
        ) from error


def digest(backend: str, extra: Path | None) -> str:
    """Return a hash of the files that a backend's space is made of, a user's among them; raises ConfigError."""
    found = hashlib.sha256()
    for file in (*shipped(backend), *([extra] if extra else [])):
        found.update(hashlib.sha256(content(file)).digest())
    return found.hexdigest()
