"""The choices that the torch backend leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.backends import choices


@dataclass(frozen=True)
class Items:
    """How one direction's work items are cut; all are positive integers.

    query_tile: query rows of an item that needs a mask; PyTorch's flash op multiplies blocks of 32 rows on a CPU.
    key_multiple: keys of such an item are rounded up to a multiple of this, so that more items are alike.
    segment: shortest run of rows that becomes a mask-free item of its own.
    core: width from which the keys that all rows of a tile see become a mask-free item of their own.
    chunk: scores, over all heads, that are computed at a time (at least one item's).
    """

    query_tile: int = 32
    key_multiple: int = 16
    segment: int = 16
    core: int = 1024
    chunk: int = 1 << 22


@dataclass(frozen=True)
class Config:
    """The items of both directions.

    Those of the backward are longer, as fewer items mean fewer sums that overlap, and fewer at a time, since it makes
    three results of each.
    """

    forward: Items = Items()
    backward: Items = Items(query_tile=64, chunk=1 << 20)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Config:
        """Return the configuration with `values`, such as {"forward.chunk": 65536}; raises ConfigError."""
        return choices.changed(cls(), values, "torch", _check)


def _check(name: str, value: object) -> None:
    choices.require(choices.is_integer(value, 1), name, value, "It is an integer of at least 1.")
