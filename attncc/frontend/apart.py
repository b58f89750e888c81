"""Sequences apart: a batch whose entries are planned one by one, each as if it were alone, and run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attncc._util import caching
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern
from attncc.frontend.sequences import BatchEntry, Sequences
from attncc.ir.tables import Array


class PatternApart(Pattern):
    """The pattern of a batch whose entries are planned by themselves.

    Attributes:
        parts: The pattern of each entry, as that of a batch of one, and how many keys it is planned for.
    """

    def __init__(self, whole: Pattern, parts: Sequence[tuple[Pattern, int]]) -> None:
        self.parts = tuple(parts)
        super().__init__(whole.template, whole.name, whole.parameters, whole.tables)

    @property
    def _fingerprint(self) -> str:
        return f"{super()._fingerprint}/apart"

    def __reduce__(self) -> tuple[Any, ...]:
        return PatternApart, (Pattern(self.template, self.name, self.parameters, self.tables), self.parts)


def apart(pattern: Pattern, sequences: Sequences, pages: Pages | None = None) -> PatternApart:
    """Return the pattern of sequences with offsets and lengths of their own, each planned by itself.

    The last ones are kept.

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
def _apart(sequences: Sequences, pattern: Pattern, pages: Pages | None) -> PatternApart:
    whole = sequences.pattern(pattern)
    columns = [column.tolist() for column in sequences.columns.values()]
    parts = [_alone(pattern, b, offset, n, pages) for b, (offset, n) in enumerate(zip(*columns, strict=True))]
    return PatternApart(whole if pages is None else pages.on(whole), parts)


def _alone(pattern: Pattern, entry: int, offset: int, n: int, pages: Pages | None) -> tuple[Pattern, int]:
    """Return the pattern of an entry as a batch of one, and how many keys it is planned for: by its own length."""
    placed = Sequences([offset], [n]).pattern(BatchEntry(entry).pattern(pattern))
    if pages is None:
        return placed, n
    used: Array = pages.table[entry, None, : max(1, -(-n // pages.size))]
    own = Pages(used, pages.lengths[entry, None], pages.size)
    return own.on(placed), own.positions
