"""Outlines: what of a schedule its cost depends on, without its rows, so that many can be kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import sympy

from attncc.backends.torch.config import Items
from attncc.backends.torch.lower import schedule
from attncc.backends.torch.slots import Slots
from attncc.backends.torch.work import Work
from attncc.ir.predicate import Predicate
from attncc.ir.quotient import FloorDiv
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read
from attncc.planner.passes import Pass

#: Integer operations that a division, a remainder or a look-up takes as long as.
SLOW = 4


@dataclass(frozen=True)
class Rows:
    """`length` rows for each item of a work; gathered through an index, or `apart`, not side by side."""

    length: int
    gathered: bool
    apart: bool

    @classmethod
    def of(cls, slots: Slots) -> Rows:
        """Return the outline of slots."""
        return cls(slots.length, slots.index is not None, slots.index is None and slots.row_step > 1)


@dataclass(frozen=True)
class Outline:
    """A work: its items, and what each reads and writes.

    made: there is a mask that differs from item to item, so that what is added is made for each chunk; kept: of a mask
    that is evaluated once, not for each chunk with `operations` for each pair.
    """

    items: int
    rows: Rows
    cols: Rows
    causal: bool
    first: bool
    made: bool
    kept: bool
    operations: int

    @classmethod
    def of(cls, work: Work) -> Outline:
        """Return the outline of a work."""
        mask = work.mask
        residual = None if mask is None else mask.residual
        return cls(
            work.rows.items,
            Rows.of(work.rows),
            Rows.of(work.cols),
            work.causal,
            work.first,
            mask is not None and not mask.shared,
            mask is not None and mask.is_kept,
            0 if residual is None else _operations(residual),
        )


def outlines(passes: tuple[Pass, ...], q_len: int, items: Items) -> tuple[Outline, ...]:
    """Return the outlines of a schedule's works; the last ones are kept."""
    return _outlines(passes, q_len, _relevant(passes, items))


def _relevant(passes: tuple[Pass, ...], items: Items) -> Items:
    """Return the items with what doesn't change a schedule set to 1."""
    items = replace(items, chunk=1)
    under_key_ranges = any(part.residual is None for part in passes)
    return items if under_key_ranges else replace(items, query_tile=1, key_multiple=1, segment=1)


@lru_cache(maxsize=1024)
def _outlines(passes: tuple[Pass, ...], q_len: int, items: Items) -> tuple[Outline, ...]:
    return tuple(Outline.of(work) for work in schedule(passes, q_len, items).works)


@lru_cache(maxsize=128)
def _operations(predicate: Predicate) -> int:
    """Return the integer operations that evaluating a predicate takes for a pair, but not for a row or a key."""
    return sum(2 + _pairwise(atom.expr) for atom in predicate.atoms)


def _pairwise(expr: sympy.Expr) -> int:
    if not {I, J} <= expr.free_symbols:
        return 0
    own = SLOW if isinstance(expr, sympy.Mod | sympy.floor | FloorDiv | Read) else max(1, len(expr.args) - 1)
    return own + sum(_pairwise(argument) for argument in expr.args)
