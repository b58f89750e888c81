"""Batch shapes: the properties of tile batches that their cost depends on, without rows, so that many can be kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import sympy

from attncc.backends.slots import Slots
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.lower import is_under_key_ranges, schedule
from attncc.backends.torch.tile_batch import TileBatch
from attncc.ir.predicate import Predicate
from attncc.ir.quotient import FloorDiv
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read
from attncc.planner.passes import Pass

#: A division, a remainder or a look-up takes as long as this many other integer operations.
SLOW = 4


@dataclass(frozen=True)
class RowAccess:
    """How the items of a batch reach `length` rows each: through an index (`gathered`), or a step apart (`apart`)."""

    length: int
    gathered: bool
    apart: bool

    @classmethod
    def of(cls, slots: Slots) -> RowAccess:
        """Return how slots are reached."""
        return cls(slots.length, slots.index is not None, slots.index is None and slots.row_step > 1)


@dataclass(frozen=True)
class BatchShape:
    """The size of a tile batch, and what its items read and write.

    Attributes:
        items: The number of items.
        rows, cols: How an item reaches its query rows and its keys.
        causal, first: As in TileBatch.
        masked_by_item: Whether the mask differs from item to item, so that each chunk makes its additive mask.
        mask_is_kept: Whether the mask is evaluated once and kept. Otherwise each chunk evaluates it.
        operations: Integer operations to evaluate the residual for a pair.
    """

    items: int
    rows: RowAccess
    cols: RowAccess
    causal: bool
    first: bool
    masked_by_item: bool
    mask_is_kept: bool
    operations: int

    @classmethod
    def of(cls, tiles: TileBatch) -> BatchShape:
        """Return the shape of a batch."""
        mask = tiles.mask
        residual = None if mask is None else mask.residual
        return cls(
            tiles.rows.items,
            RowAccess.of(tiles.rows),
            RowAccess.of(tiles.key_rows),
            tiles.causal,
            tiles.first,
            mask is not None and not mask.shared,
            mask is not None and mask.is_kept,
            0 if residual is None else _operations(residual),
        )


def batch_shapes(passes: tuple[Pass, ...], q_len: int, tiling: Tiling) -> tuple[BatchShape, ...]:
    """Return the shapes of a schedule's batches; the last ones are kept."""
    return _batch_shapes(passes, q_len, _relevant(passes, tiling))


def _relevant(passes: tuple[Pass, ...], tiling: Tiling) -> Tiling:
    """Return the tiling with the sizes that don't change a schedule set to 1."""
    tiling = replace(tiling, chunk=1)
    return tiling if any(map(is_under_key_ranges, passes)) else replace(tiling, query_tile=1, key_multiple=1, segment=1)


@lru_cache(maxsize=1024)
def _batch_shapes(passes: tuple[Pass, ...], q_len: int, tiling: Tiling) -> tuple[BatchShape, ...]:
    return tuple(BatchShape.of(tiles) for tiles in schedule(passes, q_len, tiling).tile_batches)


@lru_cache(maxsize=128)
def _operations(predicate: Predicate) -> int:
    """Return the integer operations for each pair; those for a row or a key alone don't count."""
    return sum(2 + _pairwise(atom.expr) for atom in predicate.atoms)


def _pairwise(expr: sympy.Expr) -> int:
    if not {I, J} <= expr.free_symbols:
        return 0
    own = SLOW if isinstance(expr, sympy.Mod | sympy.floor | FloorDiv | Read) else max(1, len(expr.args) - 1)
    return own + sum(_pairwise(argument) for argument in expr.args)
