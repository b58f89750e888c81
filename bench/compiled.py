"""Compiling kernels for GPUs that aren't there, and reading their loops: what test_machine_code.py measures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import triton
import yardstick
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from attncc.machine_code.loops import full_and_partial, main_loops
from attncc.machine_code.resources import Compiled
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
    on = gpu(target)
    constants = {"HEAD_DIM": head_dim, "BLOCK_M": blocks.block_m, "BLOCK_N": blocks.block_n, "CAUSAL": causal}
    signature = yardstick.SIGNATURE | dict.fromkeys(constants, "constexpr")
    aligned = {(list(signature).index(name),): [["tt.divisibility", 16]] for name in POINTERS}
    kernel = triton.compile(
        ASTSource(yardstick.dense, signature, constants, aligned),
        target=GPUTarget(on.backend, on.triton_arch, on.warp_size),
        options={"num_warps": blocks.num_warps, "num_stages": blocks.num_stages, "enable_fp_fusion": True},
    )
    return Compiled.of(kernel)


def predicted(target: str, head_dim: int, length: int, *, causal: bool) -> float:
    """Return the model's FLOP/s of the yardstick; FLOP are counted as the published figures count them."""
    blocks = BLOCKS[head_dim]
    compiled = dense(target, head_dim, blocks, causal=causal)
    full, partial = full_and_partial(main_loops(compiled.instructions))
    tile = 4.0 * blocks.block_m * blocks.block_n * head_dim
    # Keys and values of a head come from memory once for all query tiles at work on it; the cache holds the rest.
    moved = 2.0 * blocks.block_n * head_dim * 2 * blocks.block_m / length

    def of(loop: object, useful: float) -> Throughput:
        return predict(loop.mix, compiled.resources, gpu(target), Work(useful, moved))  # type: ignore[attr-defined]

    if not causal:
        return of(full, tile).flops
    tiles, diagonal = length // blocks.block_m, blocks.block_m // blocks.block_n
    below = tiles * (tiles - 1) / 2 * diagonal
    return combined([(below, tile, of(full, tile)), (tiles * diagonal, tile / 2, of(partial, tile / 2))])
