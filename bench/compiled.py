"""Compiling kernels for GPUs that aren't there, and reading their loops: what test_machine_code.py measures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yardstick

from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import Source, compile
from attncc.machine_code.loops import Loop, full_and_partial, main_loops
from attncc.machine_code.throughput import Throughput, Work, combined, predict
from attncc.targets import gpu

POINTERS = ("query", "key", "value", "out", "lse", "head_stride", "length")


@dataclass(frozen=True)
class Blocks:
    """Tile, warps and stages of a kernel."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


#: What the triton backend takes by default, by head size.
BLOCKS = {64: Blocks(128, 64, 4, 2), 128: Blocks(128, 64, 8, 2)}


@cache
def dense(target: str, head_dim: int, blocks: Blocks, *, causal: bool) -> Compiled:
    """Compile the yardstick, fp16."""
    constants = {"HEAD_DIM": head_dim, "BLOCK_M": blocks.block_m, "BLOCK_N": blocks.block_n, "CAUSAL": causal}
    source = Source(
        path=Path(yardstick.__file__),
        name="dense",
        types=tuple(yardstick.SIGNATURE.items()),
        constants=tuple(constants.items()),
        aligned=frozenset(POINTERS),
        num_warps=blocks.num_warps,
        num_stages=blocks.num_stages,
    )
    return compile(source, gpu(target))


def predicted(target: str, head_dim: int, length: int, *, causal: bool) -> float:
    """Return the model's FLOP/s of the yardstick; FLOP are counted as the published figures count them."""
    blocks = BLOCKS[head_dim]
    compiled = dense(target, head_dim, blocks, causal=causal)
    full, partial = full_and_partial(main_loops(compiled.instructions))
    tile = 4.0 * blocks.block_m * blocks.block_n * head_dim
    # Keys and values of a head come from memory once for all query tiles at work on it; the cache holds the rest.
    moved = 2.0 * blocks.block_n * head_dim * 2 * blocks.block_m / length

    def of(loop: Loop | None, useful: float) -> Throughput:
        assert loop is not None
        return predict(loop.mix, compiled.resources, gpu(target), Work(useful, moved))

    if not causal:
        return of(full, tile).flops
    tiles, diagonal = length // blocks.block_m, blocks.block_m // blocks.block_n
    below = tiles * (tiles - 1) / 2 * diagonal
    return combined([(below, tile, of(full, tile)), (tiles * diagonal, tile / 2, of(partial, tile / 2))])
