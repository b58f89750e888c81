"""Work lists: the tiles of a bound layout as items and runs of kernels; their shapes depend on lengths alone.

Each tile of rows is one item. Of key ranges it has three runs: FULL, PARTIAL before it, PARTIAL behind it, some of them
empty. Of a residual that is looked at tile by tile it has as many runs as there may be tiles.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncc.backends.binding.layouts import BoundLayout
from attncc.ir.interval import ALWAYS, NEVER, SOMETIMES


class WorkList(NamedTuple):
    """The items of a kernel's grid, longest first, as attncc.backends.triton.tile_scheduler has them; int32.

    Attributes:
        items: (G, T, 4), rows (tile, full, partial, end): runs full .. partial-1 are full, partial .. end-1 partial.
        runs: (G, R, 2), rows (first, last + 1) of tiles of the other axis.
    """

    items: Tensor
    runs: Tensor


class TileRanges(NamedTuple):
    """For each tile of rows the tiles begin .. end-1 of the other axis, full_begin .. full_end-1 of them FULL.

    Tensors are int64 (G, T), begin <= end. Those of FULL ones may cross, or lie beyond: then none is.
    """

    begin: Tensor
    full_begin: Tensor
    full_end: Tensor
    end: Tensor


def by_tile(values: Tensor, block: int, neutral: int) -> Tensor:
    """Return values (G, N) in tiles (G, T, block), the last one filled up."""
    tiles = -(-values.shape[-1] // block)
    return pad(values, (0, tiles * block - values.shape[-1]), value=neutral).reshape(-1, tiles, block)


def tile_ranges(layout: BoundLayout, keys: int, block_m: int, block_n: int, *, exact: bool) -> TileRanges:
    """Return the key tiles of each query tile; without `exact` key ranges, as under a residual, none is FULL."""
    some = layout.stop > layout.start
    least = by_tile(layout.start.masked_fill(~some, keys), block_m, keys).amin(-1)
    most = by_tile(layout.stop.masked_fill(~some, 0), block_m, 0).amax(-1)
    begin, end = least // block_n, -(-most // block_n)
    end = torch.maximum(begin, end)
    if not exact:
        return TileRanges(begin, end, begin, end)
    # A row without keys has its start as its stop, somewhere: no tile is FULL for it.
    greatest, shortest = by_tile(layout.start, block_m, 0).amax(-1), by_tile(layout.stop, block_m, keys).amin(-1)
    return TileRanges(begin, -(-greatest // block_n), shortest // block_n, end)


def transposed(ranges: TileRanges, rows: int, keys: int, block_m: int, block_n: int) -> TileRanges:
    """Return the query tiles of each key tile: exact where ranges rise from tile to tile, else bounds.

    Each key tile gets one range around all query tiles that reach it, and in it one of tiles that are FULL. A query
    tile that is cut off is PARTIAL.
    """
    some, key_tiles = ranges.end > ranges.begin, -(-keys // block_n)
    number = torch.arange(key_tiles, device=some.device).expand(some.shape[0], key_tiles).contiguous()
    # Outer limits that rise lose nothing, and tiles without keys have no say in them. Between inner limits that rise,
    # tiles are FULL between the limits of each, too.
    last = _until(_least_from(ranges.begin.masked_fill(~some, key_tiles)), number)
    first = _until(ranges.end.masked_fill(~some, 0).cummax(-1).values, number)
    full_first, full_last = (
        _until(limit, number) for limit in (_least_from(ranges.full_end), ranges.full_begin.cummax(-1).values)
    )
    return TileRanges(first, full_first, full_last.clamp(max=rows // block_m), torch.maximum(first, last))


def _least_from(limit: Tensor) -> Tensor:
    """Return the least of each tile's limit and all later ones."""
    return limit.flip(-1).cummin(-1).values.flip(-1)


def _until(limit: Tensor, number: Tensor) -> Tensor:
    """Return how many tiles have a limit up to each number; limits rise."""
    return torch.searchsorted(limit.contiguous(), number, right=True)


def _clamped(ranges: TileRanges) -> TileRanges:
    """Return ranges with those of FULL tiles inside, at the end where none is FULL."""
    begin, full_begin, full_end, end = ranges
    full_begin, full_end = torch.clamp(full_begin, begin, end), torch.clamp(full_end, begin, end)
    none = full_end <= full_begin
    return TileRanges(begin, torch.where(none, end, full_begin), torch.where(none, end, full_end), end)


def of_ranges(ranges: TileRanges) -> WorkList:
    """Return the work list of ranges: three runs an item."""
    begin, full_begin, full_end, end = _clamped(ranges)
    runs = torch.stack([full_begin, full_end, begin, full_begin, full_end, end], -1)
    tile = torch.arange(begin.shape[-1], device=begin.device).expand(begin.shape)
    items = torch.stack([tile, 3 * tile, 3 * tile + 1, 3 * tile + 3], -1)
    return WorkList(_longest_first(items, end - begin), runs.reshape(len(runs), -1, 2).to(torch.int32))


def classes_of(ranges: TileRanges, other_tiles: int) -> Tensor:
    """Return the class of every tile by ranges, int8 (G, T, K): NEVER, SOMETIMES or ALWAYS has it pairs."""
    number = torch.arange(other_tiles, device=ranges.begin.device)
    begin, full_begin, full_end, end = (limit[..., None] for limit in _clamped(ranges))
    there = ((number >= begin) & (number < end)).to(torch.int8) * SOMETIMES
    return there + ((number >= full_begin) & (number < full_end)).to(torch.int8) * (ALWAYS - SOMETIMES)


def of_classes(classes: Tensor) -> WorkList:
    """Return the work list of classes (G, T, K): a run for each group of neighbours, at most K an item."""
    _, tiles, others = classes.shape
    before = pad(classes[..., :-1], (1, 0), value=-1)
    opens = (classes != before) & (classes != NEVER)
    number = torch.arange(others, device=classes.device).expand(classes.shape)
    # The next place where the class changes is where a run ends.
    changes = torch.where(pad(classes[..., 1:] != classes[..., :-1], (0, 1), value=True), number + 1, others)
    ends = changes.flip(-1).cummin(-1).values.flip(-1)
    kind = torch.where(opens, torch.where(classes == ALWAYS, 0, 1), 2)
    order = torch.sort(kind, stable=True, dim=-1).indices
    runs = torch.stack([number.gather(-1, order), ends.gather(-1, order)], -1)
    full, some = (kind == 0).sum(-1), (kind < 2).sum(-1)
    tile = torch.arange(tiles, device=classes.device).expand(full.shape)
    items = torch.stack([tile, others * tile, others * tile + full, others * tile + some], -1)
    return WorkList(_longest_first(items, (classes != NEVER).sum(-1)), runs.flatten(1, 2).to(torch.int32))


def _longest_first(items: Tensor, lengths: Tensor) -> Tensor:
    """Return items (G, T, 4) by their numbers of tiles (G, T); equally long ones keep their order, and share L2."""
    order = torch.sort(lengths, descending=True, stable=True, dim=-1).indices
    return items.gather(1, order[..., None].expand(items.shape)).to(torch.int32)
