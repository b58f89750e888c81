"""The choices that the torch backend leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from attncc.errors import ConfigError, nearest


@dataclass(frozen=True)
class Config:
    """Sizes of the torch backend's work items; all are positive integers.

    query_tile: query rows of an item that needs a mask; PyTorch's flash op multiplies blocks of 32 rows on a CPU.
    backward_query_tile: the same for the backward, where fewer items mean fewer overlapping sums to add up.
    key_multiple: keys of such an item are rounded up to a multiple of this, so that more items are alike.
    segment: shortest run of rows that becomes a mask-free item of its own.
    core: width from which the keys that all rows of a tile see become a mask-free item of their own.
    chunk: scores, over all heads, that are computed at a time (at least one item's).
    """

    query_tile: int = 32
    backward_query_tile: int = 64
    key_multiple: int = 16
    segment: int = 16
    core: int = 1024
    chunk: int = 1 << 22

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Config:
        """Return the configuration with `values` in place of defaults; raises ConfigError."""
        known = {field.name for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ConfigError(
                    f"Unknown config key {name!r}.",
                    rule="The torch backend's keys are the fields of its Config.",
                    fix=nearest(name, known),
                )
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"config {name}={value!r}.", rule="It is an integer of at least 1.")
        return cls(**values)  # type: ignore[arg-type]
