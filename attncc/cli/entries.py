"""Entries of the cache, as `attncc cache` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncc.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.configs.entry import Entry


def listing(found: list[Entry], title: str) -> RenderableType:
    """Return a table of entries."""
    from attncc.configs.key import length_of

    columns = ("key", "pattern", "direction", "target", "mode", "speed-up", "queries", "keys", "made")
    listing = output.table(title, *columns, numbers=("speed-up", "queries", "keys"))
    for entry in found:
        key = entry.key
        gain = f"{entry.speedup:.2f} x" if entry.speedup else ""
        lengths = length_of(key.q_len), length_of(key.kv_len)
        runs = f"{key.target} ({key.backend}, {key.dtype})"
        listing.add_row(key.digest[:8], entry.pattern, key.direction, runs, entry.mode, gain, *lengths, entry.made[:16])
    return listing


def row(entry: Entry) -> dict[str, object]:
    """Return what scripts get of an entry in a list."""
    found = {"digest": entry.key.digest, "environment": entry.environment.digest, "key": entry.key.describe()}
    names = ("pattern", "mode", "speedup", "config", "seconds", "made", "about")
    return found | {name: getattr(entry, name) for name in names}


def facts(entry: Entry) -> RenderableType:
    """Return all that an entry says."""
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
