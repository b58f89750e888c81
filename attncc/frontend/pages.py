"""Pages: where the keys of sequences lie in a pool that they share, as PagedAttention has it (Kwon et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from attncc._util import caching
from attncc._util.tracing import constant
from attncc.frontend.patterns import Pattern, TracedPattern
from attncc.frontend.templates import PatternTemplate, handle_in_graphs, template_of
from attncc.ir.tables import Array, TableData


@dataclass(frozen=True, eq=False)
class Pages:
    """The page table of a batch: position p of sequence b lies in row table[b, p // size] * size + p % size.

    Patterns speak of positions; only what loads keys looks at pages.

    Attributes:
        table: The pages of each sequence, in order, (B, n); -1 where there is none.
        lengths: The keys of each sequence, (B,).
        size: The positions of a page.
    """

    table: Array
    lengths: Array
    size: int

    @classmethod
    def of(cls, pattern: Pattern) -> Pages | None:
        """Return the pages of a pattern's keys, None where they lie at their positions."""
        size = pattern.template.page_size
        return cls(pattern.tables[-1].data, pattern.tables[-2].data, size) if size else None

    @property
    def positions(self) -> int:
        """The positions that sequences have pages for."""
        return int(self.table.shape[1]) * self.size

    @cached_property
    def all_rows(self) -> Array:
        """The rows of the pool where the positions of each sequence lie, (B, n), up to those of the longest one."""
        positions = np.arange(self.lengths.max(initial=0))
        return np.stack([self.rows(entry, positions) for entry in range(len(self.lengths))])

    def entry(self, number: int) -> Pages:
        """Return the pages that a sequence has begun, at least one, as those of a batch of one."""
        used: Array = self.table[number, None, : max(1, -(-int(self.lengths[number]) // self.size))]
        return Pages(used, self.lengths[number, None], self.size)

    def on(self, pattern: Pattern) -> Pattern:
        """Return a pattern whose keys lie in these pages."""
        tables = [*pattern.tables, TableData(self.lengths, "lengths"), TableData(self.table, "block_table")]
        template = _paged(pattern.template, self.size, len(pattern.tables))
        return Pattern(template, pattern.name, pattern.parameters, tables)

    @classmethod
    def off(cls, pattern: Pattern) -> Pattern:
        """Return a pattern that was put on pages, with its keys at their positions."""
        return Pattern(_paged(pattern.template, 0, 0), pattern.name, pattern.parameters, pattern.tables[:-2])

    def rows(self, entry: int, positions: Array) -> Array:
        """Return the rows of the pool where positions of a sequence lie.

        Those beyond its keys get the row of its first key: what lies there is a number, whatever is in unused rows.
        """
        kept = np.where(positions < self.lengths[entry], positions, 0)
        rows: Array = np.maximum(self.table[entry][kept // self.size], 0) * self.size + kept % self.size
        return rows


def paged_in_graph(pattern: Pattern, lengths: Any, table: Any, size: int) -> TracedPattern:
    """Return what Pages.on does, where lengths and page table are values of a graph that is recorded."""
    handle = _paged_handle(pattern.template_handle, size, len(pattern.tables))
    return TracedPattern(handle, [*pattern.tables, lengths, table], pattern.name)


@caching.algebra(256)
def _paged(template: PatternTemplate, size: int, slot: int) -> PatternTemplate:
    return PatternTemplate(template.subsets, size, slot)


@constant
def _paged_handle(own: str, size: int, slot: int) -> str:
    return handle_in_graphs(_paged(template_of(own), size, slot))
