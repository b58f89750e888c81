"""Lists: rows of integers, of which the body of a pattern or score asks whether a number is in one."""

from __future__ import annotations

from typing import Any

from attncc.errors import TableError
from attncc.frontend.language import ListRow, addressed
from attncc.ir.lists import LIMIT, canonical, canonical_there
from attncc.ir.placeholders import Placeholder
from attncc.ir.tables import TableData


class Lists(TableData):
    """Rows of integers, of which a pattern asks whether a number is in one: `(j // 64).isin(blocks[i // 64])`.

    The data is an integer array (rows, K): up to K entries a row, in any order, and negative numbers for none. An entry
    counts once. Dimensions in front are the batch entry, (B, rows, K), or batch entry and head, (B, H, rows, K), as in
    a Table.

    Raises TableError for anything but integers below 2^62 in two to four dimensions.
    """

    is_lists = True

    def __init__(self, data: Any, name: str = "lists") -> None:
        found = TableData(data, name)
        largest = max(map(abs, found.promised))
        if found.is_boolean or found.ndim < 2 or largest >= LIMIT:
            raise TableError(
                f"Lists {name!r} are {'booleans' if found.is_boolean else 'integers'} of shape {found.shape}, "
                f"up to {largest} in size.",
                rule="They are integers below 2^62, (rows, K), with (B, ...) or (B, H, ...) in front where wanted.",
                fix="Give each row its entries and -1 for none; what is True or False per entry is an attncc.Table.",
            )
        if found.tensor is None:
            super().__init__(canonical(found.data), name)
        else:
            self._leave(canonical_there(found.tensor), name)

    def __getitem__(self, key: object) -> ListRow:
        return ListRow(self, addressed(self, self.ndim - 1, key))

    def __repr__(self) -> str:
        return f"Lists({self.name!r}, shape={self.shape})"


class ListsPlaceholder(Placeholder, Lists):
    """What a declared function gets in place of lists, once for all lists of its kind."""
