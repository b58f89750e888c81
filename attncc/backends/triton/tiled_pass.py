"""A pass in a kernel's tiles: its spec, the arrays and numbers that the kernel reads, and its launches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from attncc.backends.head_chunks import padded, power_of_two
from attncc.backends.triton.config import Blocks
from attncc.backends.triton.launch import HeadShape, Launch
from attncc.backends.triton.lifting import lifted
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.backends.triton.spec import Spec
from attncc.backends.triton.tile_scheduler import WorkItems
from attncc.ir.tables import Array
from attncc.planner.passes import Pass

#: Elements of a split tile and of a part of it that a warp merges, and of one that it adds up. With 1,024 to add up,
#: Triton 3.7 takes stack.
MERGED_BY_WARP, ADDED_BY_WARP = 2048, 2048
#: Columns of the largest chunk of a wide part: all of it beside its tile would leave no registers.
JOINED = 64


@dataclass(frozen=True, eq=False)
class KeyBound:
    """One end of the key ranges of query slots, in closed form where there is one."""

    kind: str  # `open` at the end of the axis, `slanted`, else `stored`
    shift: int = 0  # a slanted one is clip(slot + shift, 0, cols)
    slots: Array | None = None  # a stored one's key slots, one a query slot

    @classmethod
    def of(cls, slots: Array, cols: int, end: int) -> KeyBound:
        """Return the bound with these key slots, one a query slot; at `end` (0 or `cols`) it is open."""
        if np.all(slots == end):
            return cls("open")
        inside = np.flatnonzero((slots > 0) & (slots < cols))
        shift = int(slots[inside[0]] - inside[0]) if len(inside) else 0
        if len(inside) and np.array_equal(np.clip(np.arange(len(slots)) + shift, 0, cols), slots):
            return cls("slanted", shift)
        return cls("stored", slots=slots.astype(np.int32))


@dataclass(frozen=True, eq=False)
class TiledPass:
    """A pass cut into a kernel's tiles, for some heads."""

    work: Pass
    shape: HeadShape
    blocks: Blocks
    heads: GridHeads
    spec: Spec
    arrays: Mapping[str, Array]
    numbers: Mapping[str, int]

    @classmethod
    def of(cls, work: Pass, spec: Spec, shape: HeadShape, blocks: Blocks, heads: GridHeads) -> TiledPass:
        """Return a pass in tiles of `blocks`; the layout of the pass is added to `spec`."""
        tiled = work.tiled(blocks.block_m, blocks.block_n)
        (least, most), end = work.key_ranges.bounds(), work.cols.size
        start, stop = KeyBound.of(least, end, 0), KeyBound.of(most, end, end)
        of_entry: Array | None = None
        if heads.by_entry:
            spec = replace(spec, sets="")
            if spec.residual is not None:
                residual, names, of_entry = lifted(spec.residual)
                spec = replace(spec, residual=residual, lifted=names)
        cols, paged = work.cols, work.pages is not None
        rows = work.key_rows(cols.places) if paged else cols.positions
        arrays = {
            "row_positions": work.rows.positions,
            "col_positions": rows if rows is None or spec.holds_keys else _as_seen(rows, least, most),
            "key_positions": cols.places if paged else None,
            "lifted": of_entry,
            "start_slots": start.slots,
            "stop_slots": stop.slots,
        }
        numbers = {
            "rows": work.rows.size,
            "cols": cols.size,
            "q_offset": work.q_offset,
            "start_shift": start.shift,
            "stop_shift": stop.shift,
            "group_size": heads.group_size,
        }
        spec = replace(
            spec,
            start=start.kind,
            stop=stop.kind,
            gather_rows=work.rows.positions is not None,
            gather_cols=rows is not None,
            paged=paged,
            head_subset=heads.listed is not None,
        )
        kept = {name: array.astype(np.int32) for name, array in arrays.items() if array is not None}
        return cls(tiled, shape, blocks, heads, spec, kept | heads.arrays, numbers)

    def launches(self, items: tuple[WorkItems, WorkItems], *, opens: bool) -> Iterator[Launch]:
        """Yield the launches in their order: over whole tiles, over parts of split ones, and those that join the parts.

        `opens`: it is the first pass to write its rows, and writes all of them.
        """
        whole, split = items
        if len(whole.items):
            yield self._launch(replace(self.spec, continues=not opens), whole)
        if len(split.items):
            yield self._launch(replace(self.spec, split=True), split)
            yield from self._joins(split, opens)

    def _launch(self, spec: Spec, items: WorkItems) -> Launch:
        arrays = {**self.arrays, "items": items.items, "runs": items.runs}
        if spec.split:
            arrays["part_numbers"] = items.part_numbers
        writes = {name: name for name in spec.results}
        return Launch(spec, self.shape, self.blocks, self.heads, len(items.items), arrays, self.numbers, writes)

    def _joins(self, split: WorkItems, opens: bool) -> Iterator[Launch]:
        """Yield one `merge` for all results of the forward, or one `add` for each gradient."""
        spec = self.spec
        common = Spec("merge", head_subset=spec.head_subset, gather_rows=spec.gather_rows, continues=not opens)
        if spec.kernel == "forward":
            merge = replace(common, packed=spec.packed, remainder=spec.remainder)
            yield self._join(merge, split, self.shape, {name: name for name in spec.results})
            return
        add = replace(common, kernel="add")
        if spec.holds_keys:
            add = replace(add, gather_rows=False, gather_cols=spec.gather_cols, of_keys=True)
        for name in spec.results:
            of_values = replace(self.shape, head_dim=self.shape.value_dim)
            yield self._join(add, split, of_values if name == "DV" else self.shape, {"Grad": name})

    def _join(self, spec: Spec, split: WorkItems, shape: HeadShape, writes: Mapping[str, str]) -> Launch:
        """`add` and `merge` know one kind of rows: those of the kernel's tiles."""
        shape = replace(shape, widest=JOINED)
        blocks, axis = self.blocks, self.work.rows
        if self.spec.holds_keys:
            blocks, axis = replace(blocks, block_m=blocks.block_n), self.work.cols
        blocks = replace(blocks, num_warps=_join_warps(spec, blocks.block_m, shape), num_stages=1)
        spec = replace(spec, **shape.chunking)
        numbers = {"rows": axis.size, "parts_per_head": len(split.items), "group_size": self.numbers["group_size"]}
        arrays = {**self.arrays, "split_tiles": split.tiles}
        return Launch(spec, shape, blocks, self.heads, len(split.tiles), arrays, numbers, writes)


def _as_seen(rows: Array, start: Array, stop: Array) -> Array:
    """Return where key slots lie, for those that no query sees the place of one that some does: padding may be NaN."""
    some = start < stop
    opened, closed = (np.bincount(ends[some], minlength=len(rows) + 1) for ends in (start, stop))
    seen = np.cumsum(opened - closed)[:-1] > 0
    return rows if seen.all() or not seen.any() else np.where(seen, rows, rows[np.argmax(seen)])


def _join_warps(spec: Spec, rows: int, shape: HeadShape) -> int:
    """Return the warps that join a split tile of `rows` rows: `merge` holds it and a chunk of a part, `add` less."""
    if spec.kernel == "merge":
        least, enough = 4, rows * (padded(shape.value_dim) + shape.value_chunks[0]) // MERGED_BY_WARP
    else:
        least, enough = 1, rows * padded(shape.head_dim) // ADDED_BY_WARP
    return min(16, max(least, power_of_two(enough + 1) // 2))
