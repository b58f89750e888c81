"""What is exported: a pattern at a shape, and the predicate of each batch entry and head that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from attncc.errors import ExportError
from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.frontend.patterns import Pattern
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H
from attncc.ir.tables import Array
from attncc.planner.bound_groups import shared
from attncc.planner.checks import check
from attncc.planner.plan import Plan
from attncc.planner.shape import Shape

Found = TypeVar("Found")


@dataclass(frozen=True)
class Exported:
    """A pattern at a shape; batch entries and heads count as one where the pattern doesn't depend on them."""

    pattern: Pattern
    shape: Shape

    @classmethod
    def of(
        cls, pattern: Plan | AnyPattern, q_len: int | None, kv_len: int | None, q_offset: int, heads: int, batch: int
    ) -> Exported:
        """Return a plan's pattern and shape, or a pattern at lengths; see `to_block_mask` for the arguments."""
        if isinstance(pattern, Plan):
            if (q_len, kv_len, q_offset, heads, batch) != (None, None, 0, 1, 1):
                raise ExportError(
                    f"A plan, and q_len={q_len}, kv_len={kv_len}, q_offset={q_offset}, heads={heads}, batch={batch}.",
                    rule="A plan has lengths, heads and batch entries of its own.",
                    fix="Leave them out, or pass plan.pattern.",
                )
            made, shape = pattern.pattern, pattern.shape
        else:
            if q_len is None:
                raise ExportError(
                    "A pattern without q_len.", rule="Masks have lengths.", fix="Give q_len, or pass a plan."
                )
            made, shape = accepted_pattern(pattern), Shape.of(q_len, kv_len, q_offset, heads, batch)
        if made.template.page_size:
            raise ExportError(
                f"{made!r} reads keys from pages.",
                rule="A mask speaks of positions, and doesn't say where keys lie.",
                fix="Export the pattern without pages, and give the page table to the kernel.",
            )
        check(made.predicate, shape)
        return cls(made, shape)

    @property
    def leading(self) -> tuple[int, int]:
        """(batch entries, heads) that are told apart."""
        own = self.shape.narrowed(self.pattern.free)
        return own.batch, own.heads

    @cached_property
    def groups(self) -> list[tuple[list[tuple[int, int]], Predicate]]:
        """The (batch entry, head) pairs that share a predicate in i and j, and the predicate."""
        batch, heads = self.leading
        return [
            ([(b, h) for b in entries or range(batch) for h in own or range(heads)], predicate)
            for (entries, own), predicate in shared(self.pattern.predicate, self.shape, self.pattern.free)
        ]

    def members(self, of: Callable[[Predicate], Found]) -> list[list[Found]]:
        """Return what is made of the predicate of each batch entry and head, a list of lists; made once a group."""
        batch, heads = self.leading
        made = {pair: found for pairs, predicate in self.groups for found in [of(predicate)] for pair in pairs}
        return [[made[b, h] for h in range(heads)] for b in range(batch)]

    def in_order(self, of: Callable[[Predicate], Found]) -> Iterator[Found]:
        """Yield the same in the order of batch entries, then heads."""
        for entry in self.members(of):
            yield from entry

    def one_for(self, what: str, *, batch: bool, heads: bool) -> None:
        """Raise ExportError where batch entries or heads differ and a format has one mask for all of them."""
        for symbol, name, alike in ((B, "batch entry", batch), (H, "head", heads)):
            if alike and symbol in self.pattern.free:
                raise ExportError(
                    f"{self.pattern!r} differs by {name}.",
                    rule=f"{what} has one mask for every {name}.",
                    fix=f"Export the pattern of one {name} at a time, and call the kernel for each.",
                )


def positive(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (block_m, block_n) of a block size; raises ExportError for what isn't one."""
    sizes = value if isinstance(value, tuple) else (value, value)
    if len(sizes) != 2 or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ExportError(
            f"{name}={value!r}.",
            rule="It is a positive integer, or one for queries and one for keys.",
            fix="Use for example 128.",
        )
    return sizes


def int32(name: str, numbers: Array) -> Array:
    """Return numbers as int32; raises ExportError where they don't fit."""
    if len(numbers) and int(numbers.max()) >= 1 << 31:
        raise ExportError(
            f"{name} of {int(numbers.max()):,}.",
            rule="The format counts in 32 bits.",
            fix="Export fewer batch entries, or a shorter sequence, at a time.",
        )
    return numbers.astype(np.int32)
