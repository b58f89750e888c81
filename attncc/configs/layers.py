"""Layers: the places of configurations, in the order of look-up; no plugin is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

from attncc.configs.entry import Entry
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.configs.store import Store, user_store
from attncc.frontend.plugins import PATTERNS

#: Folders that are read before the user's cache, separated as in PATH.
PATH = "ATTNCC_CONFIG_PATH"
_SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class Layer:
    """One place of configurations.

    Only the user's store is written, and its entries must be of the present environment. Entries that others hand out
    are used although they were tuned in another one, and are read once in a process.

    Attributes:
        kind: "path", "user" or "shipped".
        name: The place, for people.
        store: The entries.
    """

    kind: str
    name: str
    store: Store

    def exact(self, environment: Environment, key: Key) -> Entry | None:
        """Return the entry of a key: of this environment, or else the best that is handed out."""
        current = self.store.load(environment, key)
        if current is not None or self.kind == "user":
            return current
        others = [entry for entry in _handed_out(self.store) if entry.key == key]
        return max(others, key=lambda entry: (entry.mode == "measured", entry.made), default=None)

    def entries(self, environment: Environment) -> Iterator[Entry]:
        """Yield the entries that may be used."""
        yield from self.store.entries(environment) if self.kind == "user" else _handed_out(self.store)


def layers() -> tuple[Layer, ...]:
    """Return the layers: the folders of ATTNCC_CONFIG_PATH, the user's store, and those shipped."""
    named = [folder for folder in os.environ.get(PATH, "").split(os.pathsep) if folder]
    paths = [Layer("path", f"{folder} ({PATH})", Store(Path(folder))) for folder in named]
    return (*paths, Layer("user", "this user's cache", user_store()), *shipped())


@lru_cache(maxsize=1)
def shipped() -> tuple[Layer, ...]:
    """Return the folders `configs` of plugins' packages, and attncc's own."""
    by_folder: dict[Path, Layer] = {}
    for plugin in PATTERNS.installed():
        for folder in _folders(plugin.entry):
            by_folder.setdefault(folder, Layer("shipped", f"plugin {plugin.name}", Store(folder)))
    return (*by_folder.values(), Layer("shipped", "attncc", Store(_SHIPPED)))


def _folders(entry: EntryPoint) -> list[Path]:
    """Return `configs` of the package that an entry point's module is in; a top-level one is found unimported."""
    try:
        spec = find_spec(entry.module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    places = spec.submodule_search_locations if spec else None
    return [folder for place in places or () if (folder := Path(place) / "configs").is_dir()]


@lru_cache(maxsize=32)
def _handed_out(store: Store) -> tuple[Entry, ...]:
    return tuple(store.entries())
