"""Maintenance of a store: damaged files, and environments that no longer exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attncc._util.storage import abandoned, is_inside
from attncc.configs import validation
from attncc.configs.store import Store, checked
from attncc.errors import ConfigError


@dataclass(frozen=True)
class Damage:
    """A file that isn't the entry that it is named for, and the reason."""

    path: Path
    reason: str


def damaged(store: Store) -> Iterator[Damage]:
    """Yield the files that look-ups ignore."""
    for path in store.files():
        try:
            checked(path)
        except FileNotFoundError:  # another process has removed it
            continue
        except (OSError, ConfigError) as error:
            yield Damage(path, validation.said(error))


def removable(store: Store) -> list[Path]:
    """Return damaged files inside a store, none behind a link out of it, and files that no process writes any more."""
    return [*(each.path for each in damaged(store) if is_inside(each.path, store.root)), *abandoned()]


def outdated(store: Store) -> list[Path]:
    """Return the folders of environments that aren't current: code, packages or facts have changed since.

    Those of other machines and settings are current, as are those of other targets; a folder that doesn't say what it
    is of isn't.
    """
    described = ((folder, store.described(folder)) for folder in store.environments())
    return [folder for folder, environment in described if environment is None or environment.is_outdated]
