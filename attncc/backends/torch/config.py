"""The choices that the torch backend leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.backends import choices


@dataclass(frozen=True)
class Tiling:
    """How one direction's work items are cut; all sizes are positive integers.

    Attributes:
        query_tile: Query rows of an item with a mask; PyTorch's flash op multiplies blocks of 32 rows on a CPU.
        key_multiple: The keys of such an item are rounded up to a multiple of this, so that more items are alike.
        segment: The shortest run of rows that becomes a mask-free item.
        core: The fewest keys, seen by all rows of a tile, that become a mask-free item.
        chunk: Scores over all heads that are computed at a time, at least those of one item.
    """

    query_tile: int = 32
    key_multiple: int = 16
    segment: int = 16
    core: int = 1024
    chunk: int = 1 << 22


@dataclass(frozen=True)
class Config:
    """The tilings of both directions.

    The backward has longer items, since fewer items have fewer sums that overlap. It computes fewer at a time, since
    each item gives three results.
    """

    forward: Tiling = Tiling()
    backward: Tiling = Tiling(query_tile=64, chunk=1 << 20)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Config:
        """Return the configuration with `values`, such as {"forward.chunk": 65536}; raises ConfigError."""
        return choices.changed(_DEFAULT, values, "torch", _check)


_DEFAULT = Config()


def _check(name: str, value: object) -> None:
    choices.require(choices.is_integer(value, 1), name, value, "It is an integer of at least 1.")
