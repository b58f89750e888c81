"""Claims: what a declaration says of the entries of a table, `Annotated[Table, Sorted()]`; each table is checked.

A wrong claim would be a wrong mask, so that a table that breaks one is an error wherever it comes from. One that lies
on a device and isn't read is checked there, where ATTNCC_CHECK asks for it: nothing waits, and an assertion fails on
the device. No look-up relies on the claims of such a table to stay inside of another one.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from attncc.errors import TableError
from attncc.ir.tables import Array, TableData

#: The variable that has claims checked on devices; "0" is no.
CHECK = "ATTNCC_CHECK"


@dataclass(frozen=True)
class Bounds:
    """Limits of a number, or of all entries of a table or of lists: `Annotated[int, attncc.Bounds(minimum=1)]`.

    Attributes:
        minimum: The least number; None is no limit.
        maximum: The greatest number; None is no limit.
    """

    minimum: float | None = None
    maximum: float | None = None

    def check(self, table: TableData, name: str) -> None:
        """Raise TableError for an entry of a table that is out of bounds; in lists, negative ones are none."""
        entries = table.data[table.data >= 0] if table.is_lists else table.data
        if entries.size and not (self.allows(int(entries.min())) and self.allows(int(entries.max()))):
            wrong = np.zeros(table.data.shape, bool)
            for limit, beyond in ((self.minimum, np.less), (self.maximum, np.greater)):
                wrong |= False if limit is None else beyond(table.data, limit)
            _refuse(table, name, wrong & (table.data >= 0) if table.is_lists else wrong, f"Its entries are {self}.")

    def holds_for(self, entries: Any, is_lists: bool) -> Any:
        """Return whether all entries of a tensor are within the limits, or below 0 in lists, as a tensor there."""
        within = entries == entries
        if self.minimum is not None:
            within = within & (entries >= self.minimum)
        if self.maximum is not None:
            within = within & (entries <= self.maximum)
        return (within | (entries < 0) if is_lists else within).all()

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the greatest 64-bit integer within the limits."""
        least, greatest = -(1 << 63), (1 << 63) - 1
        low = least if self.minimum is None or self.minimum <= least else math.ceil(min(self.minimum, greatest))
        high = greatest if self.maximum is None or self.maximum >= greatest else math.floor(max(self.maximum, least))
        return low, high

    def allows(self, value: float) -> bool:
        """Return whether a number is within the limits."""
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def __str__(self) -> str:
        low = [] if self.minimum is None else [f"at least {self.minimum}"]
        high = [] if self.maximum is None else [f"at most {self.maximum}"]
        return " and ".join(low + high)


@dataclass(frozen=True)
class Sorted:
    """The entries of a table never fall along its last dimension: `Annotated[attncc.Table, attncc.Sorted()]`."""

    def check(self, table: TableData, name: str) -> None:
        """Raise TableError for the first entry of a table that is below the one before it."""
        falls = table.data[..., 1:] < table.data[..., :-1]
        if falls.any():
            wrong = np.concatenate([np.zeros_like(table.data[..., :1], bool), falls], -1)
            _refuse(table, name, wrong, "Its entries never fall along the last dimension.")

    def holds_for(self, entries: Any, is_lists: bool) -> Any:
        """Return whether no entry of a tensor is below the one before it, as a tensor there."""
        return (entries[..., 1:] >= entries[..., :-1]).all()


@dataclass(frozen=True)
class Distinct:
    """No two entries of a table are equal along its last dimension: `Annotated[attncc.Table, attncc.Distinct()]`."""

    def check(self, table: TableData, name: str) -> None:
        """Raise TableError for the first entry of a table that stands before it, too."""
        order = np.argsort(table.data, axis=-1, kind="stable")
        ascending = np.take_along_axis(table.data, order, -1)
        wrong = np.zeros(table.data.shape, bool)
        np.put_along_axis(wrong, order[..., 1:], ascending[..., 1:] == ascending[..., :-1], -1)
        if wrong.any():
            _refuse(table, name, wrong, "Its entries differ from each other along the last dimension.")

    def holds_for(self, entries: Any, is_lists: bool) -> Any:
        """Return whether no two entries of a tensor are equal, as a tensor there."""
        ascending = entries.sort(-1).values
        return (ascending[..., 1:] != ascending[..., :-1]).all()


Claim = Bounds | Sorted | Distinct
#: How claims are written down, by their classes (see `described`).
_TAGS: dict[str, type[Claim]] = {"bounds": Bounds, "sorted": Sorted, "distinct": Distinct}


def check(table: TableData, name: str, claims: Iterable[Claim]) -> None:
    """Raise TableError where a table of this name breaks a claim; a table that keeps it is looked at once.

    One that isn't read is checked where it lies, if at all, and isn't counted among those that were seen to keep it.
    """
    if table.is_unread:
        if os.environ.get(CHECK, "0") != "0":
            _assert_there(table, name, claims)
        return
    for claim in claims:
        if claim not in table.kept_claims:
            claim.check(table, name)
            table.kept_claims.add(claim)


def _assert_there(table: TableData, name: str, claims: Iterable[Claim]) -> None:
    """Have the device assert that a table keeps claims, which it does when it comes to that."""
    torch = sys.modules["torch"]  # which made the tensor
    for claim in claims:
        holds = claim.holds_for(table.tensor, table.is_lists)
        torch._assert_async(holds, f"Table {name!r} breaks the claim {claim!r}.")


def described(claim: Claim) -> list[object]:
    """Return a claim as JSON-able data."""
    [tag] = [tag for tag, kind in _TAGS.items() if type(claim) is kind]
    return [tag, claim.minimum, claim.maximum] if isinstance(claim, Bounds) else [tag]


def parsed(value: object) -> Claim:
    """Return the claim that `described` described; raises ValueError for anything else."""
    tag, *limits = value if isinstance(value, list) and value else [None]
    if not isinstance(tag, str) or tag not in _TAGS or len(limits) != (2 if tag == "bounds" else 0):
        raise ValueError(f"{value!r:.60} is not a claim")
    if not all(limit is None or (type(limit) in (int, float) and abs(limit) < np.inf) for limit in limits):
        raise ValueError(f"{limits!r:.60} are not bounds")
    return _TAGS[tag](*limits)


def _refuse(table: TableData, name: str, wrong: Array, rule: str) -> NoReturn:
    """Raise TableError for the first of the entries that are wrong."""
    *row, last = map(int, np.argwhere(wrong)[0])
    value, row_entries = table.data[(*row, last)], table.data[tuple(row)]
    place = ", ".join(map(str, row if table.is_lists else [*row, last]))
    near = f", after {row_entries[last - 1]}" if last and not table.is_lists else ""
    raise TableError(
        f"{'Lists' if table.is_lists else 'Table'} {name!r} has {value} at [{place}]{near}.",
        rule=f"{rule} The declaration says so, and plans rely on it.",
        fix="Correct the entry, or declare the parameter without that claim.",
    )
