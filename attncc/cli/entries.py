"""Entries of the cache, as `attncc cache` shows them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from attncc.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from attncc.configs.entry import Entry

#: Columns of the list, and the least that they take.
_WIDTHS = {"key": 8, "direction": 9, "target": 16, "mode": 8, "speed-up": 8, "queries": 7, "keys": 7}


def listing(listed: list[Entry], title: str) -> RenderableType:
    """Return a table of entries, which come sorted by pattern: each pattern has a line of its own above its entries."""
    from rich.console import Group
    from rich.text import Text

    tables = [
        part
        for pattern, entries in groupby(listed, key=lambda entry: entry.pattern)
        for part in ("", Text(pattern), _rows(entries))
    ]
    return Group(Text(title, style="bold"), *tables)


def _rows(entries: Iterable[Entry]) -> RenderableType:
    """Return a table that fits into 80 columns, as wide for each pattern."""
    from attncc.configs.key import length_of

    made = output.table("", *_WIDTHS, numbers=("speed-up", "queries", "keys"))
    for column, width in zip(made.columns, _WIDTHS.values(), strict=True):
        column.min_width = width
    for entry in entries:
        key = entry.key
        gain = f"{entry.speedup:.2f} x" if entry.speedup else ""
        runs = f"{key.target} {key.backend} {key.dtype}"
        lengths = length_of(key.q_len), length_of(key.kv_len)
        made.add_row(key.digest[:8], key.direction, runs, entry.mode, gain, *lengths)
    return made


def row(entry: Entry) -> dict[str, object]:
    """Return an entry of a list as JSON-able data."""
    described = {"digest": entry.key.digest, "environment": entry.environment.digest, "key": entry.key.describe()}
    names = ("pattern", "mode", "speedup", "config", "seconds", "made", "about")
    return described | {name: getattr(entry, name) for name in names}


def facts(entry: Entry) -> RenderableType:
    """Return all fields of an entry."""
    from attncc.configs.environment import flat

    rows = {name: str(value) for name, value in entry.about.items()}
    rows |= {f"key: {name}": str(value) for name, value in entry.key.describe().items()}
    rows |= {f"environment: {name}": str(value) for name, value in flat(entry.environment.describe()).items()}
    rows |= {f"config: {name}": str(value) for name, value in entry.config.items()}
    rows |= {f"{entry.mode}: {name}": output.seconds(value) for name, value in entry.seconds.items()}
    rows |= {f"kernel {n}": str(dict(kernel)) for n, kernel in enumerate(entry.resources, start=1)}
    if entry.expected_error is not None:
        rows["expected error"] = f"{entry.expected_error:.0%}"
    rows |= {"trials": str(entry.trials), "effort": entry.effort, "seed": str(entry.seed), "made": entry.made}
    gain = f", {entry.speedup:.2f} x the default's speed" if entry.speedup else ""
    return output.facts(f"{entry.key.digest}: {entry.mode}{gain}", rows)
