"""Sequences apart: a batch whose entries are planned one by one, each as if it were alone, and run together."""

from __future__ import annotations

from attncc._util import caching
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern
from attncc.frontend.sequences import BatchEntry, Sequences


def apart(pattern: Pattern, sequences: Sequences, pages: Pages | None = None) -> Pattern:
    """Return the pattern of sequences with offsets and lengths of their own, each planned by itself.

    The last ones are kept. What becomes of the pattern by `&`, `causal()` and the like is planned as one batch again.

    Args:
        pattern: The pattern of the batch, in a sequence's own positions.
        sequences: The sequences.
        pages: Where their keys lie; None where they lie at their positions.
    """
    return _apart(sequences, pattern, pages)


def _by_content(sequences: Sequences, pattern: Pattern, pages: Pages | None) -> tuple[object, ...]:
    of_pages = () if pages is None else (pages.size, pages.table.shape, pages.table.tobytes())
    return pattern.handle, *(column.tobytes() for column in sequences.columns.values()), of_pages


@caching.by_size(lambda pattern: sum(table.data.size for table in pattern.tables), _by_content)
def _apart(sequences: Sequences, pattern: Pattern, pages: Pages | None) -> Pattern:
    placed = sequences.pattern(pattern)
    whole = placed if pages is None else pages.on(placed)
    entries = [_alone(sequences, pattern, pages, entry) for entry in range(len(sequences))]
    return Pattern(whole.template, whole.name, whole.parameters, whole.tables, entries)


def _alone(sequences: Sequences, pattern: Pattern, pages: Pages | None, entry: int) -> tuple[Pattern, int]:
    """Return the pattern of an entry as a batch of one, and how many keys it is planned for: by its own length."""
    own = sequences.entry(entry)
    placed = own.pattern(BatchEntry(entry).pattern(pattern))
    if pages is None:
        return placed, int(own.columns["kv_len"][0])
    of_entry = pages.entry(entry)
    return of_entry.on(placed), of_entry.positions
