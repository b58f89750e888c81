"""Tile batches: equal-shaped work items of one pass, ready for a tile kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attncc.backends.slots import Slots
from attncc.backends.torch.masks import Mask
from attncc.ir.tables import Array

#: How many times smaller the parts of a batch are that gathers its keys: memory for copies that is small stays with the
#: process, while each large piece comes anew from the system, which takes as long as the copy several times over.
COPIED = 4


@dataclass(eq=False, slots=True)  # not frozen, as launches aren't
class TileBatch:
    """T items of L query rows and M keys.

    Attributes:
        rows: The query rows of each item, (T, L).
        cols: The keys of each item, (T, M).
        mask: Which keys each row sees; None if all.
        causal: Whether row r sees keys 0 .. r instead.
        first: Whether no earlier batch writes to these rows, so that results are stored instead of merged.
        unused: Which keys no query of the whole group sees, (T, M); None if all are seen. Their values don't count.
        paged: The rows where the keys lie, (T, M), if these aren't their positions.
    """

    rows: Slots
    cols: Slots
    mask: Mask | None = None
    causal: bool = False
    first: bool = False
    unused: Array | None = None
    paged: Slots | None = None

    @property
    def key_rows(self) -> Slots:
        """Where the keys of each item lie, (T, M)."""
        return self.cols if self.paged is None else self.paged

    @property
    def scores(self) -> int:
        """Scores per item."""
        return self.rows.length * self.cols.length

    @property
    def is_translation(self) -> bool:
        """Whether all items are the first one moved along the diagonal, rows and keys by as much."""
        return self.rows.index is None and self.cols.index is None and self.rows.item_step == self.cols.item_step

    def chunks(self, budget: int) -> Iterator[TileBatch]:
        """Yield parts of at most `budget` scores, or one item; of fewer where keys are copied."""
        step = max(1, budget // (1 if self.key_rows.index is None else COPIED) // max(1, self.scores))
        if step >= self.rows.items:
            yield self
            return
        for first in range(0, self.rows.items, step):
            yield self.chunk(first, min(first + step, self.rows.items))

    def chunk(self, first: int, last: int) -> TileBatch:
        """Return items first .. last-1."""
        mask, unused = self.mask and self.mask.chunk(first, last), self.unused
        unused = None if unused is None else unused[first:last]
        rows, cols, paged = self.rows.chunk(first, last), self.cols.chunk(first, last), self.paged
        paged = paged and paged.chunk(first, last)
        return replace(self, rows=rows, cols=cols, mask=mask, unused=unused, paged=paged)
