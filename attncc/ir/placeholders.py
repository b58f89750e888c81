"""Placeholders: tables of a template, of which rank and kind are known, and entries aren't yet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from attncc.errors import TableError
from attncc.ir.claims import Bounds, Claim
from attncc.ir.claims import check as check_claims
from attncc.ir.claims import described as claim_described
from attncc.ir.claims import parsed as claim_parsed
from attncc.ir.lists import LIMIT
from attncc.ir.tables import MAX_DIMENSIONS, Array, TableData


class UnboundError(BaseException):
    """The entries of a placeholder were asked for.

    Not an Exception, so that a declaration that asks doesn't take it for an error of its own.
    """


class TableKind(NamedTuple):
    """What is known of a table before its entries are.

    Attributes:
        shared: Which of its dimensions have size 1, the last one aside.
        is_boolean: Whether its entries are booleans.
        is_lists: Whether its rows are lists.
        claims: What its entries keep.
    """

    shared: tuple[bool, ...]
    is_boolean: bool = False
    is_lists: bool = False
    claims: tuple[Claim, ...] = ()

    @classmethod
    def of(cls, table: TableData, claims: tuple[Claim, ...] = ()) -> TableKind:
        """Return the kind of a table, which keeps these claims."""
        return cls(shared_of(table.shape), table.is_boolean, table.is_lists, claims)

    def __str__(self) -> str:
        entries = "lists" if self.is_lists else "booleans" if self.is_boolean else "integers"
        sizes = ", ".join(["1" if shared else "n" for shared in self.shared])
        return f"{entries} of shape ({sizes})"


def shared_of(sizes: Sequence[int]) -> tuple[bool, ...]:
    """Return which dimensions of these sizes have size 1; the last one doesn't count."""
    return *[size == 1 for size in sizes[:-1]], False


class Placeholder(TableData):
    """A table of a template: its kind is known, its entries are not.

    `least` and `most` are bounds of the entries. The sizes are known for one that stands for the tables of one shape
    (see `of_shape`). Raises UnboundError where the entries are asked for.
    """

    is_placeholder = True

    def __init__(
        self,
        name: str,
        number: int,
        kind: TableKind,
        least: int = -(1 << 63),
        most: int = (1 << 63) - 1,
        sizes: tuple[int, ...] | None = None,
    ) -> None:
        self.name, self.number, self.kind, self.sizes = name, number, kind, sizes
        self.is_boolean, self.is_lists = kind.is_boolean, kind.is_lists
        bounds = [claim.ends for claim in kind.claims if isinstance(claim, Bounds)]
        if kind.is_boolean:
            bounds.append((0, 1))
        if kind.is_lists:
            bounds = [(-1, LIMIT - 1), *((-1, greatest) for _, greatest in bounds)]
        self.least, self.most = max([least, *(low for low, _ in bounds)]), min([most, *(high for _, high in bounds)])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.number, self.kind, self.least, self.most, self.sizes)

    @property
    def kept_claims(self) -> set[Any]:
        """What all tables keep that take its place."""
        return set(self.kind.claims)

    def within(self, least: int, most: int) -> Placeholder:
        """Return the placeholder for tables whose entries are known to be from `least` to `most`."""
        return type(self)(self.name, self.number, self.kind, least, most)

    def of_shape(self, sizes: tuple[int, ...]) -> Placeholder:
        """Return the placeholder for tables of one shape, with the same bounds."""
        kind = self.kind._replace(shared=shared_of(sizes))
        return type(self)(self.name, self.number, kind, self.least, self.most, sizes)

    def numbered(self, number: int) -> Placeholder:
        """Return the placeholder under another number."""
        return type(self)(self.name, number, self.kind)

    def row(self, number: int, axes: int) -> Placeholder:
        """Return the placeholder, under another number, for what tables have at indices along their first axes."""
        kind = self.kind._replace(shared=self.kind.shared[axes:])
        return type(self)(self.name, number, kind, self.least, self.most)

    def check(self, table: TableData) -> None:
        """Raise TableError unless a table may take its place: of its kind, and keeping its claims."""
        found = TableKind.of(table, self.kind.claims)
        if found != self.kind:
            raise TableError(
                f"Table {self.name!r} has {found}, and takes the place of {self.kind}.",
                rule="A graph is made for tables of one kind, of any size n.",
                fix="Give a table like the one that the graph was made with, or make the graph again.",
            )
        check_claims(table, self.name, self.kind.claims)

    @property
    def shape(self) -> tuple[int, ...]:
        if self.sizes is None:
            raise UnboundError(f"The sizes of table {self.name!r} aren't known yet.")
        return self.sizes

    @property
    def ndim(self) -> int:
        return len(self.kind.shared)

    def is_shared(self, axis: int) -> bool:
        return self.kind.shared[axis]

    @property
    def data(self) -> Array:
        raise UnboundError(f"The entries of table {self.name!r} aren't known yet.")

    @cached_property
    def digest(self) -> str:
        """What takes the place of the contents' hash: everything that is known."""
        known = [self.number, self.name, *described(self.kind), self.least, self.most, *(self.sizes or ())]
        return f"placeholder_{json.dumps(known)}"

    @property
    def largest(self) -> int:
        """A bound of the absolute value of an entry."""
        return max(abs(self.least), abs(self.most))

    @property
    def pyramid(self) -> AnyEntries:  # type: ignore[override]
        """Bounds of all entries that a table may have."""
        return AnyEntries(self.least, self.most)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.kind})"


def described(kind: TableKind) -> list[object]:
    """Return a kind as JSON-able data."""
    return [list(kind.shared), kind.is_boolean, kind.is_lists, list(map(claim_described, kind.claims))]


def parsed(shared: object, is_boolean: object, is_lists: object, claims: object) -> TableKind:
    """Return the kind that `described` described; raises ValueError for anything else."""
    if not (isinstance(shared, list) and 1 <= len(shared) <= MAX_DIMENSIONS and isinstance(claims, list)):
        raise ValueError(f"{[shared, claims]!r:.60} are not dimensions and claims")
    if not all(type(flag) is bool for flag in (*shared, is_boolean, is_lists)):
        raise ValueError(f"{[shared, is_boolean, is_lists]!r:.60} are not true or false")
    return TableKind(tuple(shared), bool(is_boolean), bool(is_lists), tuple(map(claim_parsed, claims)))


class AnyEntries:
    """The pyramid of entries that aren't known: their least and greatest value, with unbounded arithmetic."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def bounds(self, box: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """Return the same bounds for every box."""
        shape = np.broadcast_shapes(*(np.shape(end) for ends in box for end in ends))
        return np.full(shape, self.least, object), np.full(shape, self.most, object)
