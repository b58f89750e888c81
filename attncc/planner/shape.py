"""The shape a pattern is planned for."""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import sympy

from attncc.errors import ShapeError
from attncc.ir.symbols import MAX_POSITION, B, H

#: The least value of each field of a shape.
LEAST = {"q_len": 0, "kv_len": 0, "q_offset": 1 - MAX_POSITION, "heads": 1, "batch": 1}


@dataclass(frozen=True)
class Shape:
    """Lengths, the position of the first query, and how many heads and batch entries share the plan.

    Query row r stands at position `q_offset + r`, which may be negative. Anything that Python takes for an integer is
    one. Raises ShapeError for lengths outside 0 <= n < 2^31.
    """

    q_len: int
    kv_len: int
    q_offset: int = 0
    heads: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            least = LEAST[name]
            if type(value) is not int or not least <= value < MAX_POSITION:
                object.__setattr__(self, name, _within(name, value, least))  # its place in the dictionary stays
        if not LEAST["q_offset"] <= self.q_offset + self.q_len < MAX_POSITION:
            _within("q_offset + q_len", self.q_offset + self.q_len, LEAST["q_offset"])

    @classmethod
    def of(cls, q_len: int, kv_len: int | None = None, q_offset: int = 0, heads: int = 1, batch: int = 1) -> Shape:
        """Return the shape that is meant: without `kv_len` the keys end where the queries do."""
        if kv_len is None:
            own = (_within(name, value, LEAST[name]) for name, value in (("q_len", q_len), ("q_offset", q_offset)))
            kv_len = max(sum(own), 0)
        return cls(q_len, kv_len, q_offset, heads, batch)

    def narrowed(self, free: Collection[sympy.Symbol]) -> Shape:
        """Return the shape with one head or batch entry where what depends on the symbols `free` is alike for all."""
        heads, batch = self.heads if H in free else 1, self.batch if B in free else 1
        return self if (heads, batch) == (self.heads, self.batch) else replace(self, heads=heads, batch=batch)


def _within(name: str, value: Any, least: int) -> int:
    """Return what is taken for an integer as one; raises ShapeError where it is none, or out of range."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number < MAX_POSITION:
        raise ShapeError(
            f"{name}={value!r}.",
            rule=f"It is an integer {_RANGES[least]} and below 2^31, since positions are.",
            fix="Give one in that range.",
        )
    return number


_RANGES = {0: "of at least 0", 1: "of at least 1", LEAST["q_offset"]: "above -2^31"}
