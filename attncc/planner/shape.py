"""The shape a pattern is planned for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import sympy

from attncc.errors import ShapeError
from attncc.ir.symbols import MAX_POSITION, B, H


@dataclass(frozen=True)
class Shape:
    """Lengths, the position of the first query, and how many heads and batch entries share the plan.

    Query row r stands at position `q_offset + r`. Raises ShapeError for lengths outside 0 <= n < 2^31.
    """

    q_len: int
    kv_len: int
    q_offset: int = 0
    heads: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("q_len", "kv_len", "q_offset"):
            _require(name, getattr(self, name), 0)
        for name in ("heads", "batch"):
            _require(name, getattr(self, name), 1)
        _require("q_offset + q_len", self.q_offset + self.q_len, 0)

    @classmethod
    def of(cls, q_len: int, kv_len: int | None = None, q_offset: int = 0, heads: int = 1, batch: int = 1) -> Shape:
        """Return the shape that is meant: without `kv_len` the keys end where the queries do."""
        _require("q_len", q_len, 0)
        _require("q_offset", q_offset, 0)
        return cls(q_len, q_offset + q_len if kv_len is None else kv_len, q_offset, heads, batch)

    def narrowed(self, free: Collection[sympy.Symbol]) -> Shape:
        """Return the shape with one head or batch entry where what depends on the symbols `free` is alike for all."""
        return replace(self, heads=self.heads if H in free else 1, batch=self.batch if B in free else 1)


def _require(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < MAX_POSITION:
        raise ShapeError(
            f"{name}={value!r}.",
            rule=f"It is an integer of at least {least} and below 2^31, since positions are.",
            fix="Give one in that range.",
        )
