"""Where attncc keeps files between processes, and how it writes them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

#: Where caches lie, instead of the platform's place for them.
ENVIRONMENT = "ATTNCC_CACHE_DIR"


class CacheWarning(UserWarning):
    """A file of a cache wasn't what was written there; it was made again."""


def cache_folder(name: str) -> Path:
    """Return the folder of one cache; it need not exist yet."""
    chosen = os.environ.get(ENVIRONMENT)
    return (Path(chosen) if chosen else user_cache_path("attncc")) / name


def write(path: Path, content: bytes) -> None:
    """Write a file in one step, so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
