"""Lowering: passes become launches of generated kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from attncc.backends.head_chunks import begins_with, power_of_two
from attncc.backends.triton.config import Blocks, KernelConfig
from attncc.backends.triton.launch import HeadShape, Launch
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.backends.triton.spec import Spec, pipelines_pairs
from attncc.backends.triton.tile_scheduler import longest, schedule, transposed
from attncc.backends.triton.tiled_pass import TiledPass
from attncc.ir.magnitude import magnitude
from attncc.ir.notation import condition
from attncc.ir.score import IDENTITY, ScoreExpression
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.passes import Pass
from attncc.planner.tiles import Tiles

#: Integers below this bound are computed in 32 bits; the printer's rounding down takes another bit.
NARROW = 1 << 30


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
        rows, blocks, spec = work.rows.size, self.config.forward, self._spec("forward", work)
        packs = heads.packed(rows, blocks.block_m)
        if packs is None:
            tiled = self._tiled(work, spec, blocks, heads)
        else:  # tiles of the pass are those of one head; the kernel's hold the same rows of all heads of a pack
            blocks = replace(blocks, block_m=power_of_two(rows))
            tiled = self._tiled(work, replace(spec, packed=True), blocks, packs)
            height = max(16, power_of_two(rows * packs.group_size))
            tiled = replace(tiled, blocks=replace(tiled.blocks, block_m=height))
        return self._scheduled(tiled, tiled.work.tiles, opens)

    def query_gradient(self, work: Pass, heads: GridHeads, *, opens: bool) -> Iterator[Launch]:
        """Return the launches of the dQ kernel."""
        spec = replace(self._spec("query_gradient", work), weighted=self.weighted)
        tiled = self._tiled(work, spec, self.config.query_gradient, heads)
        return self._scheduled(tiled, tiled.work.tiles, opens)

    def key_gradient(self, work: Pass, heads: GridHeads, *, opens: bool) -> Iterator[Launch]:
        """Return the launches of the dK and dV kernel."""
        spec = self._spec("key_gradient", work)
        spec = replace(spec, weighted=self.weighted, atomic=self.config.atomic)
        tiled = self._tiled(work, spec, self.config.key_gradient, heads)
        return self._scheduled(tiled, transposed(tiled.work), opens)

    def _scheduled(self, tiled: TiledPass, tiles: Tiles, opens: bool) -> Iterator[Launch]:
        """Return the launches over `tiles` as work items; the first to write its rows has an item for each tile."""
        heads = tiled.heads.counted(by_kv_head=tiled.spec.by_kv_head)
        most = tiled.blocks.item_tiles or longest(tiles, heads, self.processors)
        return tiled.launches(schedule(tiles, most, every_tile=opens), opens=opens)

    def _tiled(self, work: Pass, spec: Spec, blocks: Blocks, heads: GridHeads) -> TiledPass:
        """Cut a pass into blocks no larger than its axes, so that few rows don't pay for many."""
        rows, cols = (max(16, power_of_two(axis.size)) for axis in (work.rows, work.cols))
        blocks = replace(blocks, block_m=min(blocks.block_m, rows), block_n=min(blocks.block_n, cols))
        return TiledPass.of(work, spec, self.shape, blocks, heads)

    def _spec(self, kernel: str, work: Pass) -> Spec:
        """Return the spec of a kernel, but for the layout of its tiles."""
        return Spec(
            kernel,
            sets=condition(work.predicate),
            residual=work.residual,
            wide=_is_wide(work, self.score),
            signed=work.q_offset < 0,
            far=self.far,
            latent=self.latent and begins_with(self.shape.head_dim, self.shape.value_dim),
            score=self.score,
            remainder=self.score is not None,
            unpipelined=self.unpipelined,
            **self.shape.chunking,
        )


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
