"""Placeholders: tables of a template, of which rank and kind are known, and entries aren't yet."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from attncc.ir.tables import Array, TableData


class UnboundError(BaseException):
    """The entries of a placeholder were asked for.

    Not an Exception, so that a declaration that asks doesn't take it for an error of its own.
    """


class Placeholder(TableData):
    """A table of a template: its rank and kind are known, its entries are not.

    `shared` says which of the dimensions have size 1, `least` and `most` are bounds of the entries. Raises UnboundError
    where the entries are asked for.
    """

    is_placeholder = True

    def __init__(
        self,
        name: str,
        number: int,
        shared: tuple[bool, ...],
        is_boolean: bool,
        least: int = -(1 << 63),
        most: int = (1 << 63) - 1,
    ) -> None:
        self.name, self.number, self.shared, self.is_boolean = name, number, shared, is_boolean
        self.least, self.most = (max(least, 0), min(most, 1)) if is_boolean else (least, most)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.number, self.shared, self.is_boolean, self.least, self.most)

    def within(self, least: int, most: int) -> Placeholder:
        """Return the placeholder for tables whose entries are known to be from `least` to `most`."""
        return type(self)(self.name, self.number, self.shared, self.is_boolean, least, most)

    def numbered(self, number: int) -> Placeholder:
        """Return the placeholder under another number."""
        return type(self)(self.name, number, self.shared, self.is_boolean)

    @property
    def ndim(self) -> int:
        return len(self.shared)

    def is_shared(self, axis: int) -> bool:
        return self.shared[axis]

    @property
    def data(self) -> Array:  # type: ignore[override]
        raise UnboundError(f"The entries of table {self.name!r} aren't known yet.")

    @cached_property
    def digest(self) -> str:
        """What takes the place of the contents' hash: everything that is known."""
        kind = f"{self.ndim}{'b' if self.is_boolean else ''}"
        return f"placeholder_{self.number}_{self.name}_{kind}_{self.least}_{self.most}"

    @property
    def largest(self) -> int:
        """A bound of the absolute value of an entry."""
        return max(abs(self.least), abs(self.most))

    @property
    def pyramid(self) -> AnyEntries:  # type: ignore[override]
        """Bounds of all entries that a table may have."""
        return AnyEntries(self.least, self.most)


class AnyEntries:
    """The pyramid of entries that aren't known: their least and greatest value, with unbounded arithmetic."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def bounds(self, box: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """Return the same bounds for every box."""
        shape = np.broadcast_shapes(*(np.shape(end) for ends in box for end in ends))
        return np.full(shape, self.least, object), np.full(shape, self.most, object)
