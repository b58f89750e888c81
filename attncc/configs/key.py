"""Keys: the properties of a call that decide which configuration is the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

from attncc.configs import validation
from attncc.planner.directions import BOTH, DIRECTIONS

if TYPE_CHECKING:
    from attncc.backends.inputs import Inputs
    from attncc.frontend.patterns import Pattern
    from attncc.planner.shape import Shape

#: Fields that must be equal for one key's configuration to be tried under another.
SAME = ("pattern", "score", "direction", "backend", "target", "dtype")
#: Sizes of tensors, as attncc.backends.inputs.Inputs has them.
SIZES = ("head_dim", "value_dim", "heads", "kv_heads", "batch")
#: The weight of an octave of heads times batch entries, or of queries a key head: they fill the device, no more.
HEADS_WEIGHT = 0.25


@dataclass(frozen=True)
class Key:
    """The key of a configuration. Raises ConfigError for a value that no key has.

    Attributes:
        pattern: The hash of the predicate's outline (attncc.ir.outline).
        density: log2 of the share of connected pairs, rounded, of a pattern with tables; None without.
        score: The outline of the score (attncc.ir.score), "" for none.
        direction: One of DIRECTIONS, or BOTH.
        backend: The backend's name.
        target: The target's name.
        dtype: The element type's short name.
        head_dim: Elements of a query and a key.
        value_dim: Elements of a value.
        heads: Query heads.
        kv_heads: Key heads.
        batch: Batch entries.
        q_len: Queries in half octaves, round(2 log2 n).
        kv_len: Keys in half octaves.
    """

    pattern: str
    density: int | None
    score: str
    direction: str
    backend: str
    target: str
    dtype: str
    head_dim: int
    value_dim: int
    heads: int
    kv_heads: int
    batch: int
    q_len: int
    kv_len: int

    def __post_init__(self) -> None:
        validation.hexadecimal(self.pattern, "pattern")
        if self.density is not None:
            validation.integer(-self.density if type(self.density) is int else self.density, "minus density")
        if self.score:
            validation.hexadecimal(self.score, "score")
        validation.member(self.direction, "direction", (*DIRECTIONS, BOTH))
        for name in ("backend", "target", "dtype"):
            validation.name(getattr(self, name), name)
        for name in SIZES:
            validation.integer(getattr(self, name), name, 1)
        for name in ("q_len", "kv_len"):
            validation.integer(getattr(self, name), name)

    @classmethod
    def of(
        cls, pattern: Pattern, score: str, shape: Shape, inputs: Inputs, direction: str, backend: str, target: str
    ) -> Key:
        """Return the key of a pattern under a score of some outline; raises TableError for a table that doesn't fit."""
        from attncc.configs.density import density
        from attncc.ir.outline import outline
        from attncc.ir.score import IDENTITY

        return cls(
            pattern=outline(pattern.predicate),
            density=density(pattern.predicate, shape),
            score="" if score == IDENTITY.key else score,
            direction=direction,
            backend=backend,
            target=target,
            **{name: getattr(inputs, name) for name in ("dtype", *SIZES)},
            q_len=half_octaves(shape.q_len),
            kv_len=half_octaves(shape.kv_len),
        )

    @classmethod
    def parse(cls, value: object) -> Key:
        """Return the key that `describe` described; raises ConfigError for anything else."""
        return cls(**validation.record(value, _NAMES, "key"))

    @cached_property
    def digest(self) -> str:
        """The name of the entry's file: equal keys have equal digests, in every process."""
        return validation.digest(self.describe())

    def describe(self) -> dict[str, object]:
        """Return the key as JSON-able data."""
        return {name: getattr(self, name) for name in _NAMES}

    def distance(self, other: Key) -> float | None:
        """Return how many octaves lie between two keys, or None where one's configuration means nothing to the other.

        The greater of the two lengths' ratios counts, and of the two head sizes'; heads, batch entries and grouping
        count HEADS_WEIGHT times; density counts fully.
        """
        if any(getattr(self, name) != getattr(other, name) for name in SAME):
            return None
        if (self.density is None) != (other.density is None):
            return None
        lengths = max(abs(self.q_len - other.q_len), abs(self.kv_len - other.kv_len)) / 2
        sizes = max(_octaves(self.head_dim, other.head_dim), _octaves(self.value_dim, other.value_dim))
        heads = _octaves(self.heads * self.batch, other.heads * other.batch)
        groups = _octaves(self.heads * other.kv_heads, other.heads * self.kv_heads)
        density = abs((self.density or 0) - (other.density or 0))
        return lengths + sizes + HEADS_WEIGHT * (heads + groups) + density

    def differences(self, other: Key) -> dict[str, tuple[object, object]]:
        """Return (mine, theirs) of each field that differs."""
        mine, theirs = self.describe(), other.describe()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


_NAMES = tuple(each.name for each in fields(Key))


def half_octaves(length: int) -> int:
    """Return the bucket of a length; an empty one is in that of 1."""
    return round(2 * math.log2(max(length, 1)))


def length_of(bucket: int) -> str:
    """Return about which length a bucket stands for, "~5,793"."""
    return f"~{round(2 ** (bucket / 2)):,}" if bucket < 128 else "too long"


def _octaves(one: int, other: int) -> float:
    return abs(math.log2(one / other))
