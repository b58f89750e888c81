"""Lowering: passes become launches of generated kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from attncc.backends.head_chunks import begins_with, power_of_two
from attncc.backends.triton.config import Blocks, KernelConfig
from attncc.backends.triton.launch import HeadShape, Launch
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.backends.triton.spec import Spec, pipelines_pairs
from attncc.backends.triton.tile_scheduler import longest, schedule, transposed
from attncc.backends.triton.tiled_pass import TiledPass
from attncc.ir.magnitude import magnitude
from attncc.ir.notation import condition
from attncc.ir.predicate import Predicate
from attncc.ir.score import IDENTITY, ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.passes import Pass
from attncc.planner.tiles import Tiles

#: Integers below this bound are computed in 32 bits; the printer's rounding down takes another bit.
NARROW = 1 << 30


class KernelTiling(NamedTuple):
    """How a kernel cuts a pass.

    Attributes:
        tiles: Blocks with the rows and keys of the pass's tiles.
        blocks: Blocks with those of the kernel's, which are higher where it packs heads.
        heads: The heads that the grid counts.
        packed: Whether a tile holds the rows of several heads.
    """

    tiles: Blocks
    blocks: Blocks
    heads: GridHeads
    packed: bool


@dataclass(frozen=True, eq=False)
class Lowering:
    """How passes are lowered: for tensors of these sizes, a configuration, and a device with this many processors."""

    shape: HeadShape
    config: KernelConfig
    processors: int
    score: ScoreExpression | None = None  # stands in the place of the scores
    weighted: bool = False  # the gradients of its weights are wanted
    latent: bool = False  # values are the first columns of their keys
    far: bool = False  # a head's rows reach beyond 2^31 elements
    unpipelined: bool = False  # see Spec

    @classmethod
    def on(
        cls,
        arch: str,
        processors: int,
        shape: HeadShape,
        config: Mapping[str, object],
        *,
        score: ScoreExpression | None,
        weighted: bool,
        far: bool,
        latent: bool = False,
    ) -> Lowering:
        """Return the lowering for an architecture, with its default configuration but for the choices in `config`."""
        default = KernelConfig.default(arch, max(shape.head_dim, shape.value_dim), shape.itemsize)
        chosen, unpipelined = default.changed(config), not pipelines_pairs(arch)
        return cls(shape, chosen, processors, score, weighted, latent, far, unpipelined)

    def forward(self, work: Pass, heads: GridHeads, *, opens: bool) -> Iterator[Launch]:
        """Return the launches of the forward kernel; `opens`: it is the first to write its rows, and writes all."""
        return self._scheduled(tiled := self._tiled("forward", work, heads), tiled.work.tiles, opens)

    def query_gradient(self, work: Pass, heads: GridHeads, *, opens: bool) -> Iterator[Launch]:
        """Return the launches of the dQ kernel."""
        return self._scheduled(tiled := self._tiled("query_gradient", work, heads), tiled.work.tiles, opens)

    def key_gradient(self, work: Pass, heads: GridHeads, *, opens: bool) -> Iterator[Launch]:
        """Return the launches of the dK and dV kernel."""
        return self._scheduled(tiled := self._tiled("key_gradient", work, heads), transposed(tiled.work), opens)

    def _scheduled(self, tiled: TiledPass, tiles: Tiles, opens: bool) -> Iterator[Launch]:
        """Return the launches over `tiles` as work items; the first to write its rows has an item for each tile."""
        heads = tiled.heads.counted(by_kv_head=tiled.spec.by_kv_head)
        most = tiled.blocks.item_tiles or longest(tiles, heads, self.processors)
        return tiled.launches(schedule(tiles, most, every_tile=opens), opens=opens)

    def _tiled(self, kernel: str, work: Pass, heads: GridHeads) -> TiledPass:
        spec = self.spec(kernel, work.predicate, work.residual, work.rows.length, work.cols.length, work.q_offset)
        tiling = self.tiling(kernel, work.rows.size, work.cols.size, heads)
        tiled = TiledPass.of(work, replace(spec, packed=tiling.packed), self.shape, tiling.tiles, tiling.heads)
        return replace(tiled, blocks=tiling.blocks)

    def tiling(self, kernel: str, rows: int, cols: int, heads: GridHeads) -> KernelTiling:
        """Return the tiles of a kernel over so many slots: not beyond the axes, so that few rows don't pay for many.

        Tiles of a packed forward are those of one head; the kernel's hold the same rows of all heads of a pack.
        """
        blocks: Blocks = getattr(self.config, kernel)
        packs = heads.packed(rows, blocks.block_m) if kernel == "forward" else None
        least_rows, least_cols = max(16, power_of_two(rows)), max(16, power_of_two(cols))
        tiles = replace(
            blocks,
            block_m=min(blocks.block_m, least_rows) if packs is None else power_of_two(rows),
            block_n=min(blocks.block_n, least_cols),
        )
        if packs is None:
            return KernelTiling(tiles, tiles, heads, False)
        height = max(16, power_of_two(rows * packs.group_size))
        return KernelTiling(tiles, replace(tiles, block_m=height), packs, True)

    def spec(
        self, kernel: str, predicate: Predicate, residual: Predicate | None, q_len: int, kv_len: int, q_offset: int
    ) -> Spec:
        """Return the spec of a kernel, but for the layout of its tiles."""
        backward = kernel != "forward"
        return Spec(
            kernel,
            sets=condition(predicate),
            residual=residual,
            wide=_is_wide(residual, self.score, q_len, kv_len, q_offset),
            signed=q_offset < 0,
            weighted=backward and self.weighted,
            atomic=kernel == "key_gradient" and self.config.atomic,
            far=self.far,
            latent=self.latent and begins_with(self.shape.head_dim, self.shape.value_dim),
            score=self.score,
            remainder=self.score is not None,
            unpipelined=self.unpipelined,
            **self.shape.chunking,
        )


def _is_wide(residual: Predicate | None, score: ScoreExpression | None, q_len: int, kv_len: int, q_offset: int) -> bool:
    """Return whether the residual, or an index expression of the score, can leave 32 bits."""
    largest = {I: max(-q_offset, q_offset + q_len), J: kv_len, H: 1 << 16, B: 1 << 16, NQ: q_len, NK: kv_len}
    score = score or IDENTITY
    predicates = list(score.predicates)
    if residual is not None:
        predicates.append(residual)
    indices = [*score.indices(), *(atom.expr for predicate in predicates for atom in predicate.atoms)]
    tables = score.tables.union(*(predicate.tables for predicate in predicates))
    sizes = [math.prod(table.shape) for table in tables] + [math.prod(each.weights.shape) for each in score.lookups]
    return max([*sizes, *(magnitude(index, largest) for index in indices)], default=0) >= NARROW
