"""Lowering: passes become launches of generated kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from attncc.backends.triton.config import Blocks, Config
from attncc.backends.triton.edges import edge
from attncc.backends.triton.launch import Launch, Sizes, Work, power_of_two, width
from attncc.backends.triton.members import Members
from attncc.backends.triton.schedule import Items, longest, schedule, transposed
from attncc.backends.triton.spec import Spec
from attncc.ir.magnitude import magnitude
from attncc.ir.notation import condition
from attncc.ir.score import IDENTITY, ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Array
from attncc.planner.passes import Pass
from attncc.planner.tiles import Tiles

#: Rows of the largest tile that holds those of several heads.
PACKED_ROWS = 128
#: Elements of a split tile that a warp merges, and that it adds up. With 1,024 to add up, Triton 3.7 takes stack.
MERGED_BY_WARP, ADDED_BY_WARP = 1024, 2048
#: Integers below this bound are computed in 32 bits; the printer's rounding down takes another bit.
NARROW = 1 << 30


@dataclass(frozen=True, eq=False)
class Lowering:
    """How passes are lowered: for tensors of these sizes, a configuration, and a device of so many processors.

    score: what takes the scores' place (None: nothing does); weighted: its weights' gradients are wanted.
    far: a head's rows reach beyond 2^31 elements. unpipelined: see Spec.
    """

    sizes: Sizes
    config: Config
    processors: int
    score: ScoreExpression | None = None
    weighted: bool = False
    far: bool = False
    unpipelined: bool = False

    def forward(self, work: Pass, members: Members, *, opens: bool) -> Work:
        """Return the launches of the forward kernel; `opens`: it is the first to write its rows, and writes all."""
        if self._packs(work, members):
            return self._packed_forward(work, members, opens=opens)
        cut = self._cut("forward", work, self.config.forward, members)
        joins = [(self._merge(cut), self.sizes)]
        return cut.over(self._items(cut, cut.work.tiles, members.queries, opens), joins, opens)

    def query_gradient(self, work: Pass, members: Members, *, opens: bool) -> Work:
        """Return the launches of the dQ kernel."""
        cut = self._cut("query_gradient", work, self.config.query_gradient, members)
        cut = replace(cut, spec=replace(cut.spec, weighted=self.weighted))
        join = Spec("add", gather_rows=cut.spec.gather_rows, members=cut.spec.members)
        return cut.over(self._items(cut, cut.work.tiles, members.queries, opens), [(join, self.sizes)], opens)

    def key_gradient(self, work: Pass, members: Members, *, opens: bool) -> Work:
        """Return the launches of the dK and dV kernel."""
        cut = self._cut("key_gradient", work, self.config.key_gradient, members)
        cut = replace(cut, spec=replace(cut.spec, atomic=self.config.atomic, weighted=self.weighted))
        join = Spec("add", gather_cols=cut.spec.gather_cols, members=cut.spec.members, of_keys=True)
        of_value = replace(self.sizes, head_dim=self.sizes.value_dim)
        joins = [(join, self.sizes), (join, of_value)]
        return cut.over(self._items(cut, transposed(cut.work), members.keys, opens), joins, opens)

    @staticmethod
    def _merge(cut: Cut) -> Spec:
        """Return the kernel that merges the parts of split tiles."""
        kept = cut.spec
        return Spec("merge", gather_rows=kept.gather_rows, members=kept.members, remainder=kept.remainder)

    def _packs(self, work: Pass, members: Members) -> bool:
        """Return whether one tile can hold the rows of all heads that share a key head, so that keys are read once."""
        return members.sharers > 1 and power_of_two(work.rows.size) * members.sharers <= PACKED_ROWS

    def _packed_forward(self, work: Pass, members: Members, *, opens: bool) -> Work:
        height = max(16, power_of_two(work.rows.size * members.sharers))
        blocks = replace(self.config.forward, block_m=height)
        cut = self._cut("forward", work, blocks, members, rows_of_tile=power_of_two(work.rows.size))
        cut = replace(cut, blocks=replace(cut.blocks, block_m=height), spec=replace(cut.spec, packed=True))
        join = replace(self._merge(cut), packed=True)
        return cut.over(self._items(cut, cut.work.tiles, members.keys, opens), [(join, self.sizes)], opens)

    def _items(self, cut: Cut, tiles: Tiles, members: int, every_tile: bool) -> tuple[Items, Items]:
        most = cut.blocks.item_tiles or longest(tiles, members, self.processors)
        return schedule(tiles, most, every_tile=every_tile)

    def _cut(self, kernel: str, work: Pass, blocks: Blocks, members: Members, rows_of_tile: int | None = None) -> Cut:
        """Cut a pass into blocks no larger than its axes, so that few rows don't pay for many."""
        rows, cols = (max(16, power_of_two(axis.size)) for axis in (work.rows, work.cols))
        blocks = replace(blocks, block_m=min(blocks.block_m, rows), block_n=min(blocks.block_n, cols))
        tiled = work.tiled(rows_of_tile or blocks.block_m, blocks.block_n)
        (least, most), end = work.key_ranges.bounds(), work.cols.size
        start, stop = edge(least, end, 0), edge(most, end, end)
        arrays = {
            "row_positions": work.rows.positions,
            "col_positions": work.cols.positions,
            "start_slots": start.slots,
            "stop_slots": stop.slots,
        }
        numbers = {
            "rows": work.rows.size,
            "cols": work.cols.size,
            "q_offset": work.q_offset,
            "start_shift": start.shift,
            "stop_shift": stop.shift,
            "group_size": members.sharers,
        }
        kept = {name: array.astype(np.int32) for name, array in arrays.items() if array is not None}
        spec = self._spec(kernel, work, members, start.kind, stop.kind)
        return Cut(tiled, self.sizes, blocks, spec, {**kept, **members.arrays()}, numbers)

    def _spec(self, kernel: str, work: Pass, members: Members, start: str, stop: str) -> Spec:
        """Return what a kernel is printed from; start, stop: the kinds of edges of the key ranges."""
        return Spec(
            kernel,
            sets=condition(work.predicate),
            start=start,
            stop=stop,
            residual=work.residual,
            wide=_is_wide(work, self.score),
            signed=work.q_offset < 0,
            far=self.far,
            gather_rows=work.rows.positions is not None,
            gather_cols=work.cols.positions is not None,
            members=members.listed is not None,
            padded_head=self.sizes.padded_head,
            padded_value=self.sizes.padded_value,
            score=self.score,
            remainder=self.score is not None,
            unpipelined=self.unpipelined,
        )


@dataclass(frozen=True, eq=False)
class Cut:
    """A pass cut into a kernel's tiles: its spec, and what the kernel reads beside tensors and items."""

    work: Pass
    sizes: Sizes
    blocks: Blocks
    spec: Spec
    arrays: Mapping[str, Array]
    numbers: Mapping[str, int]

    def over(self, items: tuple[Items, Items], joins: list[tuple[Spec, Sizes]], opens: bool) -> Work:
        """Return the launches over whole and split items; `joins` are the kernels that put split tiles together."""
        whole, split = items
        joined = (self._join(spec, sizes, split, opens) for spec, sizes in joins)
        return Work(
            self._launch(replace(self.spec, continues=not opens), whole),
            self._launch(replace(self.spec, split=True), split),
            tuple(joined) if len(split.items) else (),
        )

    def _launch(self, spec: Spec, items: Items) -> Launch | None:
        if not len(items.items):
            return None
        arrays = {**self.arrays, "items": items.items, "runs": items.runs}
        if spec.split:
            arrays["part_numbers"] = items.part_numbers
        return Launch(spec, self.sizes, self.blocks, len(items.items), arrays, self.numbers)

    def _join(self, spec: Spec, sizes: Sizes, split: Items, opens: bool) -> Launch:
        """`add` and `merge` know one kind of rows: those of the kernel's tiles."""
        rows, height = (
            (self.work.cols.size, self.blocks.block_n) if spec.of_keys else (self.work.rows.size, self.blocks.block_m)
        )
        spec = replace(spec, continues=not opens, padded_head=sizes.padded_head, padded_value=sizes.padded_value)
        blocks = replace(self.blocks, block_m=height, num_warps=_join_warps(spec, height, sizes), num_stages=1)
        numbers = {"rows": rows, "parts_per_head": len(split.items), "group_size": self.numbers["group_size"]}
        return Launch(spec, sizes, blocks, len(split.tiles), {**self.arrays, "split_tiles": split.tiles}, numbers)


def _join_warps(spec: Spec, height: int, sizes: Sizes) -> int:
    """Return the warps that put a split tile of so many rows together: `merge` holds two tiles at a time, `add` one."""
    if spec.kernel == "merge":
        return min(16, max(4, height * width(sizes.value_dim) // MERGED_BY_WARP))
    return min(16, max(1, height * width(sizes.head_dim) // ADDED_BY_WARP))


def _is_wide(work: Pass, score: ScoreExpression | None) -> bool:
    """Return whether the residual, or an index expression of the score, can leave 32 bits."""
    queries = max(-work.q_offset, work.q_offset + work.rows.length)
    largest = {I: queries, J: work.cols.length, H: 1 << 16, B: 1 << 16}
    largest |= {NQ: work.rows.length, NK: work.cols.length}
    score = score or IDENTITY
    predicates = list(score.predicates)
    if work.residual is not None:
        predicates.append(work.residual)
    indices = [*score.indices(), *(atom.expr for predicate in predicates for atom in predicate.atoms)]
    tables = score.tables.union(*(predicate.tables for predicate in predicates))
    sizes = [table.data.size for table in tables] + [math.prod(each.weights.shape) for each in score.lookups]
    return max([*sizes, *(magnitude(index, largest) for index in indices)], default=0) >= NARROW
