"""Cache folders of this user: their contents and sizes, and how they are emptied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from attncc._util.storage import CACHES, cache_folder, cache_root, is_inside

#: The contents of each cache, for people.
HOLDS: Mapping[str, str] = {
    "tuned": "what tuning has found, and its trials",
    "kernels": "generated Triton kernels",
    "compiled": "machine code, and what was read from it",
    "templates": "compiled templates of kernels",
    "locks": "files that processes lock while they measure",
}
#: Caches whose files may be removed at any time: all but tuned configurations are made again.
CLEARABLE = tuple(name for name in CACHES if name != "locks")


@dataclass(frozen=True)
class Folder:
    """The folder of one cache; it need not exist."""

    name: str

    @property
    def path(self) -> Path:
        return cache_folder(self.name)

    @cached_property
    def sizes(self) -> dict[Path, int]:
        """The bytes of each file; a link counts as itself, not as its target."""
        nbytes = {}
        for path in self._files():
            try:
                nbytes[path] = path.lstat().st_size
            except OSError:  # another process has removed it
                continue
        return nbytes

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    def describe(self) -> dict[str, object]:
        """Return the folder as JSON-able data."""
        return {"path": str(self.path), "holds": HOLDS[self.name], "files": len(self.sizes), "bytes": self.size}

    def clear(self) -> None:
        """Remove the files that were counted, and the folders that are empty then; raises OSError."""
        for path in self.sizes:
            path.unlink(missing_ok=True)
        for folder, _, _ in os.walk(self.path, topdown=False):
            if Path(folder) != self.path and not os.listdir(folder):
                os.rmdir(folder)

    def _files(self) -> Iterator[Path]:
        if not is_inside(self.path / "any", cache_root()):  # a link in its place leads out of the caches
            return
        for folder, folders, files in os.walk(self.path):
            links = [name for name in folders if Path(folder, name).is_symlink()]
            yield from (Path(folder, name) for name in (*files, *links))


def folders(names: tuple[str, ...] = CACHES) -> list[Folder]:
    """Return the folders of these caches."""
    return [Folder(name) for name in names]
