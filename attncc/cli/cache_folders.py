"""`attncc cache path` and `attncc cache clear`: where caches lie, what they take, and how they are emptied."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from attncc._util.storage import ENVIRONMENT, cache_root, check_cache
from attncc.cli import options, output
from attncc.errors import ConfigError, check_known

if TYPE_CHECKING:
    from rich.table import Table

    from attncc.configs.folders import Folder

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `attncc cache path`; all if there are none.")
]


def show_path(as_json: options.AsJson = False) -> None:
    """Print the folder and the size of each cache; ATTNCC_CACHE_DIR moves them.

    Example: attncc cache path
    """
    from attncc.configs.folders import folders

    check_cache()
    caches = folders()
    if as_json:
        output.show_json({"path": str(cache_root()), "caches": {each.name: each.describe() for each in caches}})
    else:
        output.show(_table(f"{cache_root()} ({ENVIRONMENT} moves it)", caches))


def clear(
    names: Names = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Empty the named caches, or all; lists what will be removed, and asks.

    What was compiled is made again where it is needed. What was tuned is lost: `attncc cache export` saves it.

    Example: attncc cache clear kernels compiled --dry-run
    """
    from attncc.configs.folders import CLEARABLE, folders

    check_cache()
    for name in names or ():
        check_known("cache", name, CLEARABLE)
    caches = [each for each in folders(tuple(names or CLEARABLE)) if each.sizes]
    if not as_json:
        title = "would be removed" if dry_run else "to be removed"
        output.show(_table(title, caches) if caches else "There is nothing to remove.")
    if caches and not dry_run:
        _ask(yes, as_json)
        _remove(caches)
    if as_json:
        output.show_json({"removed": {each.name: each.describe() for each in caches}, "dry_run": dry_run})
    elif caches and not dry_run:
        output.show("removed")


def _ask(yes: bool, as_json: bool) -> None:
    """Ask, and exit with 1 unless the user agrees; raises ConfigError if stdin can't be asked."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise ConfigError(
            "attncc cache clear without --yes.",
            rule="It asks at a terminal; elsewhere it removes nothing unless it is told to.",
            fix="Add --yes, or --dry-run to see what would go.",
        )
    if not typer.confirm("Remove these files?"):
        raise typer.Exit(1)


def _remove(caches: list[Folder]) -> None:
    for each in caches:
        try:
            each.clear()
        except OSError as error:
            raise ConfigError(
                f"{error.filename} can't be removed: {error.strerror}.",
                rule="Clearing removes files of this user's caches.",
                fix="Make the folder writable, or name other caches.",
            ) from error


def _table(title: str, caches: list[Folder]) -> Table:
    made = output.table(title, "cache", "holds", "files", "size", "folder", numbers=("files", "size"))
    for each in caches:
        described = each.describe()
        made.add_row(
            each.name, str(described["holds"]), f"{len(each.sizes):,}", output.quantity(each.size, "B"), str(each.path)
        )
    return made
