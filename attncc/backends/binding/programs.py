"""Programs: the bare functions from tables to tensors that kernels read, and what they make of the tables of a call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncc.backends.binding.layouts import BoundLayout, bound_layout
from attncc.backends.binding.values import Positions
from attncc.backends.binding.verdicts import tile_verdicts
from attncc.backends.binding.work_lists import (
    WorkList,
    classes_of,
    of_classes,
    of_ranges,
    tile_ranges,
    transposed,
)
from attncc.ir.interval import ALWAYS, SOMETIMES
from attncc.ir.tables import TableSymbol
from attncc.planner.preparation import PreparedGroup, PreparedPass
from attncc.planner.shape import Shape

#: Tiles of all members of a group that are looked at one by one, under a residual; beyond, all in the hull are PARTIAL.
MOST_TILES = 1 << 22
Tables = Mapping[TableSymbol, Tensor]


def layout_program(group: PreparedGroup, work: PreparedPass, shape: Shape, tables: Tables) -> BoundLayout:
    """Return the layout of a pass for the tables of a call."""
    return bound_layout(work, Positions.of(group, shape, tables))


def work_program(
    group: PreparedGroup,
    work: PreparedPass,
    shape: Shape,
    tables: Tables,
    layout: BoundLayout,
    block_m: int,
    block_n: int,
    by_keys: bool,
) -> WorkList:
    """Return the work list of a pass in blocks: an item for each query tile, or `by_keys` for each key tile."""
    others = -(-shape.kv_len // block_n)
    looks = work.residual is not None and is_looked_at(group, shape, block_m, block_n)
    ranges = tile_ranges(layout, shape.kv_len, block_m, block_n, exact=work.residual is None or looks)
    if not looks or work.residual is None:
        return of_ranges(transposed(ranges, shape.q_len, shape.kv_len, block_m, block_n) if by_keys else ranges)
    shown = tile_verdicts(work.residual, layout, Positions.of(group, shape, tables), block_m, block_n)
    classes = torch.minimum(classes_of(ranges, others), shown)
    if not by_keys:
        return of_classes(classes)
    classes = classes.transpose(1, 2)
    if shape.q_len % block_m:  # a query tile that is cut off isn't FULL for a key tile
        last = torch.arange(classes.shape[-1], device=classes.device) == classes.shape[-1] - 1
        classes = torch.where(last & (classes == ALWAYS), SOMETIMES, classes)
    return of_classes(classes)


def is_looked_at(group: PreparedGroup, shape: Shape, block_m: int, block_n: int) -> bool:
    """Return whether a residual's tiles are few enough to be looked at one by one."""
    return len(group.members) * -(-shape.q_len // block_m) * -(-shape.kv_len // block_n) <= MOST_TILES


def aligned(x: Tensor) -> Tensor:
    """Return int32 (G, N, ...), filled up so that each member's part is a multiple of 16 bytes, as Triton likes."""
    unit = 4 // math.gcd(4, math.prod(x.shape[2:]))
    return pad(x, (0, 0) * (x.ndim - 2) + (0, -x.shape[1] % unit)).contiguous()


@dataclass(frozen=True, eq=False)
class DeviceBinding:
    """What the programs make of the tables of a call, each part when it is first asked for."""

    shape: Shape
    tables: Tables
    _layouts: dict[PreparedPass, BoundLayout] = field(default_factory=dict, repr=False)
    _narrow: dict[PreparedPass, dict[str, Tensor]] = field(default_factory=dict, repr=False)
    _lists: dict[tuple[PreparedPass, int, int, bool], WorkList] = field(default_factory=dict, repr=False)

    def arrays(self, group: PreparedGroup, work: PreparedPass) -> dict[str, Tensor]:
        """Return the slots' positions and key ranges, int32 (G, N), by the names of a kernel's arguments."""
        if work not in self._narrow:
            found = self._layout(group, work)
            named = zip(("row_positions", "col_positions", "start_slots", "stop_slots"), found, strict=True)
            self._narrow[work] = {name: aligned(x.to(torch.int32)) for name, x in named if x is not None}
        return self._narrow[work]

    def work_list(
        self, group: PreparedGroup, work: PreparedPass, block_m: int, block_n: int, by_keys: bool
    ) -> WorkList:
        """Return the work list of a pass in blocks."""
        key = work, block_m, block_n, by_keys
        if key not in self._lists:
            layout = self._layout(group, work)
            items, runs = work_program(group, work, self.shape, self.tables, layout, block_m, block_n, by_keys)
            self._lists[key] = WorkList(items, aligned(runs))
        return self._lists[key]

    def _layout(self, group: PreparedGroup, work: PreparedPass) -> BoundLayout:
        if work not in self._layouts:
            self._layouts[work] = layout_program(group, work, self.shape, self.tables)
        return self._layouts[work]
