"""Manifests: what a rank sends each other one and expects of it, compared between both ends before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attncc.distributed.execution.tables import Parcel, RankTables
from attncc.errors import DistributedError
from attncc.ir.tables import Array

#: A parcel, the positions that its rows are picked from, and what else its place in a message depends on.
Item = tuple[Parcel, tuple[Array, ...], bytes]


@dataclass(frozen=True, eq=False)
class Manifest:
    """Of each rank that a rank exchanges with, itself among them, what it sends it and what it expects of it.

    entries: int64 (ranks, 5), a rank's number in the world, then rows and a digest of what is sent, and of what is
    expected, in all rounds. Digests are of the rows' positions in the order of messages, which are taken from the same
    picks that take tensors apart and put them together. Backwards go the same ways.
    """

    entries: Array

    @classmethod
    def of(cls, tables: RankTables, peers: Sequence[int]) -> Manifest:
        """Return the manifest of a rank, given its tables and the numbers in the world of those that they are about."""
        ends = (_summary(_items(tables, away=away), len(peers)) for away in (True, False))
        return cls(np.column_stack([np.array(peers, np.int64), *ends]))

    def row(self, peers: int) -> list[int]:
        """Return it as the row of numbers of a manifest of so many ranks, those that are missing as -1."""
        missing = np.full((peers - len(self.entries), 5), -1)
        found: list[int] = np.concatenate([self.entries, missing]).reshape(-1).tolist()
        return found

    @classmethod
    def of_row(cls, row: Sequence[int]) -> Manifest:
        """Return the manifest that a row was made of."""
        entries = np.array(row, np.int64).reshape(-1, 5)
        return cls(entries[entries[:, 0] >= 0])


def check_manifests(found: Mapping[int, Manifest]) -> None:
    """Raise DistributedError, naming both ends, unless every rank expects what the others send it."""
    source = np.repeat(list(found), [len(each.entries) for each in found.values()])
    target, *columns = np.concatenate([each.entries for each in found.values()]).T
    sent, expected = (np.lexsort(ends) for ends in ((target, source), (source, target)))
    wrong = (columns[0][sent] != columns[2][expected]) | (columns[1][sent] != columns[3][expected])
    if wrong.any():
        told = zip(
            *(x[wrong] for x in (source[sent], target[sent], columns[0][sent], columns[2][expected])), strict=True
        )
        raise DistributedError(
            "; ".join(_told(*each) for each in told) + ".",
            rule="What a rank sends another is what that one expects of it, in the same order.",
            fix="Run the same version of attncc on all ranks; if they do, please report this.",
        )


def _told(source: int, target: int, sent: int, expected: int) -> str:
    wanted = "as many others" if sent == expected else f"{expected}"
    return f"Rank {source} sends rank {target} {sent} rows in all, which expects {wanted}"


def _items(tables: RankTables, *, away: bool) -> Iterator[Item]:
    """Yield what a rank sends, or gets, in the order of its messages."""
    for number in range(1, tables.rounds + 1):
        for lane, each in enumerate(tables.lanes):
            for name, side in (("keys", each.keys), ("queries", each.queries)):
                place = f"{number} {lane} {name}".encode() + _bytes(each.members)
                yield from ((parcel, side.stores, place) for parcel in (side.sends if away else side.gets)[number])
    for lane, each in enumerate(tables.lanes):
        place = f"results {lane}".encode() + _bytes(each.members)
        yield from ((parcel, each.queries.stores, place) for parcel in (each.returned if away else each.awaited))


def _summary(items: Iterator[Item], ranks: int) -> Array:
    rows, hashes = np.zeros(ranks, np.int64), [hashlib.sha256() for _ in range(ranks)]
    for parcel, stores, place in items:
        positions = parcel.rows.positions(stores)
        rows[parcel.peer] += len(positions)
        hashes[parcel.peer].update(place + b" %d " % len(positions) + _bytes(positions))
    return np.stack([rows, [int.from_bytes(each.digest()[:8], "little", signed=True) for each in hashes]], 1)


def _bytes(numbers: Array | None) -> bytes:
    return b"" if numbers is None else numbers.astype(np.int64).tobytes()
