"""Scores of work items: which positions, heads and batch entries the score of a part is evaluated at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor

from attncc.backends.device import placed
from attncc.backends.scoring import Evaluation, ScoredBlock
from attncc.backends.torch.selection import Selection
from attncc.backends.torch.tile_batch import TileBatch
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.shape import Shape


@dataclass(frozen=True, eq=False)
class GroupScore:
    """A score for one group of heads; `sums`, by slot, collect the gradients of its weights (empty: not wanted)."""

    expression: ScoreExpression
    weights: Sequence[Tensor]
    sums: Sequence[Tensor]
    shape: Shape
    batches: Tensor
    heads: Tensor

    @classmethod
    def of(
        cls,
        expression: ScoreExpression,
        weights: Sequence[Tensor],
        sums: Sequence[Tensor],
        shape: Shape,
        selection: Selection,
        query: Tensor,
    ) -> GroupScore:
        """Return the score of the heads and batch entries that `selection` takes from query (B, Hq, Nq, D)."""
        batches, heads = selection.members(*query.shape[:2])
        on_device = (torch.as_tensor(x, device=query.device) for x in (batches, heads))
        return cls(expression, weights, sums, shape, *on_device)

    def on(self, part: TileBatch, head: int) -> PartScore:
        """Return the score of a part, for one of the query heads that share keys.

        Along diagonals it is evaluated once for all items, if they are translations of one another.
        """
        along = self.expression.depends_on_gap and part.is_translation
        diagonal = along and part.rows.row_step == part.cols.row_step
        first = part.chunk(0, 1) if along else part
        rows, cols = (placed(x.rows(), self.heads.device) for x in (first.rows, first.cols))
        query, key = (rows + self.shape.q_offset).unsqueeze(2), cols.unsqueeze(1)
        lengths, heads = {NQ: self.shape.q_len, NK: self.shape.kv_len}, self.heads[:, head]
        return PartScore(self.expression, self.weights, self.sums, query, key, self.batches, heads, lengths, diagonal)


@dataclass(frozen=True, eq=False)
class PartScore:
    """A score at the query positions (T or 1, L, 1), key positions (T or 1, 1, M), batch entries (X,) and heads (X,)
    of items; `diagonal` says that it is the same along the diagonals of every item."""

    expression: ScoreExpression
    weights: Sequence[Tensor]
    sums: Sequence[Tensor]
    query: Tensor
    key: Tensor
    batches: Tensor
    heads: Tensor
    lengths: Mapping[sympy.Symbol, int]
    diagonal: bool

    @property
    def is_bias(self) -> bool:
        """Whether it only adds to the score."""
        return self.expression.is_additive

    def block(self, items: slice, rows: slice, keys: slice, scores: Tensor) -> ScoredBlock:
        """Return the score on a block of pairs with these scaled scores."""
        return ScoredBlock(self.expression, scores, self._positions(items, rows, keys), self.weights)

    def bias(self, items: slice, rows: slice, keys: slice, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return what is added to the scores of a block, (X or 1, T or 1, rows or 1, keys or 1)."""
        positions = self._positions(items, rows, keys)
        if self.diagonal:
            positions |= _border(positions[I], positions[J])
        found = Evaluation(positions, self.weights, dtype, device)(self.expression.bias)
        found = found.reshape((1,) * (4 - found.ndim) + found.shape)
        if not self.diagonal or found.shape[-1] == 1:
            return found
        width = keys.stop - keys.start  # row r reads the border from its own first pair on
        return found.squeeze(2).unfold(-1, width, 1).flip(-2)

    def _positions(self, items: slice, rows: slice, keys: slice) -> dict[sympy.Symbol, Any]:
        batches, heads = (x[items].view(-1, 1, 1, 1) for x in (self.batches, self.heads))
        return {I: self.query[:, rows], J: self.key[..., keys], B: batches, H: heads, **self.lengths}


def _border(query: Tensor, key: Tensor) -> dict[sympy.Symbol, Tensor]:
    """Return one pair for each diagonal of a block, along its first column, upwards, and then along its first row."""
    rows, keys = query.reshape(-1), key.reshape(-1)
    return {
        I: torch.cat([rows.flip(0), rows[:1].expand(len(keys) - 1)]),
        J: torch.cat([keys[:1].expand(len(rows)), keys[1:]]),
    }
