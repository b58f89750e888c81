"""Boxes of look-ups by i and j: whether a boolean table, or a membership of lists, holds somewhere or all over a tile.

A table of sums over rows and columns gives the number of True entries of any box by four look-ups.
"""

from __future__ import annotations

import sympy
import torch
from torch import Tensor
from torch.nn.functional import pad

from attncc.backends.binding.values import Positions
from attncc.ir.interval import bounds, exact_box
from attncc.ir.lists import IsMember
from attncc.ir.symbols import B, H, I, J
from attncc.ir.tables import Read
from attncc.planner.checks import limits_of

#: Entries of all members' matrices.
MOST_ENTRIES = 1 << 24


def matrix_of(read: Read, positions: Positions) -> tuple[Tensor, sympy.Expr, sympy.Expr] | None:
    """Return a look-up as a matrix, bool (G, R, C), with the expressions of its row and column.

    That of a membership has a column for each number that is sought. None where a look-up isn't by i and by j, one for
    the row and the other for the column, or the matrix is too large.
    """
    *leading, row, column = (*read.indices, read.value) if isinstance(read, IsMember) else read.indices
    sides = [expr.free_symbols & {I, J} for expr in (row, column)]
    if not set(leading) <= {B, H, sympy.S.Zero} or sorted(map(len, sides)) != [1, 1] or sides[0] == sides[1]:
        return None
    if not (read.table.is_boolean or isinstance(read, IsMember)):
        return None
    table = positions.environment[read.args[0]] if read.table.is_placeholder else read.table.on(positions.device)
    low, count = 0, table.shape[-1]
    if isinstance(read, IsMember):
        low, count = _sought(column, positions)
    if positions.members * table.shape[-2] * count > MOST_ENTRIES:
        return None
    own = {B: positions.environment[B][:, 0], H: positions.environment[H][:, 0]}
    entries = table[tuple(own.get(index, 0) for index in leading)]
    entries = entries.expand(positions.members, *entries.shape[-2:])
    if not isinstance(read, IsMember):
        return entries != 0, row, column
    place = torch.where((entries >= max(low, 0)) & (entries < low + count), entries - low, count)
    empty = torch.zeros(*entries.shape[:2], count + 1, dtype=torch.bool, device=entries.device)
    return empty.scatter(-1, place, True)[..., :count], row, column - low


def _sought(expr: sympy.Expr, positions: Positions) -> tuple[int, int]:
    """Return the least number that is sought in lists, and how many there are from there on."""
    box = exact_box(limits_of(positions.shape))
    low, high = (int(end[0]) for end in bounds(expr, box))
    return low, high - low + 1


def box_bounds(matrix: Tensor, rows: tuple[Tensor, Tensor], cols: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return bounds of the entries in boxes, int64 (G, T, K): 1 where all are True, and where some are.

    Args:
        matrix: bool (G, R, C).
        rows: The first and last row of each box, (G, T); they are clipped to the matrix, as look-ups are.
        cols: The same of columns, (G, K).
    """
    sums = pad(matrix.to(torch.int32).cumsum(1).cumsum(2), (1, 0, 1, 0))
    (first, last), (left, right) = (
        (low.clamp(0, size - 1), high.clamp(0, size - 1) + 1)
        for (low, high), size in ((rows, matrix.shape[1]), (cols, matrix.shape[2]))
    )
    columns = sums.shape[-1]
    strips = _rows_of(sums, last, columns) - _rows_of(sums, first, columns)
    tiles = strips.shape[1]
    number = _columns_of(strips, right, tiles) - _columns_of(strips, left, tiles)
    area = (last - first)[:, :, None] * (right - left)[:, None, :]
    return (number == area).to(torch.int64), (number > 0).to(torch.int64)


def _rows_of(sums: Tensor, at: Tensor, columns: int) -> Tensor:
    return sums.gather(1, at[:, :, None].expand(-1, -1, columns))


def _columns_of(strips: Tensor, at: Tensor, tiles: int) -> Tensor:
    return strips.gather(2, at[:, None, :].expand(-1, tiles, -1))
