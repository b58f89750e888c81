"""Settings: the choices that a partitioned schedule leaves open."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from attncc.errors import ConfigError, RenamedWarning, check_known

PARTITIONS = ("contiguous", "balanced", "zigzag", "block_cyclic", "cyclic", "classes", "longest_first", "hypergraph")
ROUTES = ("direct", "tree", "ring")
#: Names that partitions had, and theirs now.
RENAMED = {"strided": "block_cyclic", "striped": "cyclic"}


def current_name(partition: str) -> str:
    """Return the present name of a partition, with a warning for a name that it had."""
    if partition not in list(RENAMED):
        return partition
    current = RENAMED[partition]
    warnings.warn(RenamedWarning(f"The partition {partition!r} is called {current!r} now."), stacklevel=4)
    return current


@dataclass(frozen=True)
class Settings:
    """How a sequence is shared among ranks.

    Attributes:
        partition: How units find their owners, one of PARTITIONS.
        unit: Tokens of a unit, a power of two; 0 for one that suits the length.
        stages: Rounds of a direct exchange, each computed while the next is on its way; 0 exchanges everything in one
            round and computes once.
        route: `direct` from owner to rank, `tree` over nodes, or `ring` from rank to rank.
        fanout: Nodes that a rank sends a unit to in one round of a tree.
        spread: The Ulysses degree: ranks that swap sequence for heads before and after (Jacobs et al. 2023).
    """

    partition: str = "contiguous"
    unit: int = 0
    stages: int = 1
    route: str = "direct"
    fanout: int = 4
    spread: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "partition", current_name(self.partition))
        for name, names in (("partition", PARTITIONS), ("route", ROUTES)):
            check_known(name, getattr(self, name), names)
        for name, least in (("unit", 0), ("stages", 0), ("fanout", 1), ("spread", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                default = getattr(type(self), name)
                raise ConfigError(
                    f"{name}={value!r}.",
                    rule=f"It is an integer of at least {least}.",
                    fix=f"Change it, or leave it out for {default}.",
                )
        if self.unit & (self.unit - 1):
            raise ConfigError(
                f"unit={self.unit}.",
                rule="A unit is a power of two of tokens, or 0.",
                fix="For example 128, or 0 to choose by the length.",
            )
