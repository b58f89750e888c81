"""Work: a batch of equal-shaped items of one pass, ready for a tile kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attncc.backends.torch.masks import Mask
from attncc.backends.torch.slots import Slots


@dataclass(frozen=True, eq=False)
class Work:
    """Items t: query rows `rows[t]` see keys `cols[t]`, all of them, causally, or as `mask` says.

    `first` says that no earlier work writes to these rows, so that results are stored instead of merged.
    """

    rows: Slots
    cols: Slots
    mask: Mask | None = None
    causal: bool = False
    first: bool = False

    @property
    def scores(self) -> int:
        """Scores per item."""
        return self.rows.length * self.cols.length

    def chunks(self, budget: int) -> Iterator[Work]:
        """Yield the work in parts of at most `budget` scores (or one item)."""
        step = max(1, budget // max(1, self.scores))
        for first in range(0, self.rows.items, step):
            last = min(first + step, self.rows.items)
            mask = self.mask and self.mask.chunk(first, last)
            yield replace(self, rows=self.rows.chunk(first, last), cols=self.cols.chunk(first, last), mask=mask)
