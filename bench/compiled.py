"""Kernels compiled for absent GPUs, for test_machine_code.py: the yardstick's and generated ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import yardstick

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot
from attncc.backends.triton.aot import Variant, variants
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile
from attncc.machine_code.loops import Loop, full_and_partial, main_loops
from attncc.machine_code.source import Source
from attncc.machine_code.throughput import Throughput, TileDemand, combined, predict
from attncc.targets import gpu

POINTERS = ("query", "key", "value", "out", "lse", "head_stride", "length")


@dataclass(frozen=True)
class Blocks:
    """Tile, warps and stages of a kernel."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


#: Of the kernels whose loops are compared, by head size.
BLOCKS = {64: Blocks(128, 64, 4, 2), 128: Blocks(128, 64, 8, 2)}
#: Of the kernels behind published figures: these are the best of the tutorial's configurations, of two to four stages.
STAGES = 3


@cache
def dense(target: str, head_dim: int, blocks: Blocks, *, causal: bool) -> Compiled:
    """Compile the yardstick, fp16."""
    constants = {"HEAD_DIM": head_dim, "BLOCK_M": blocks.block_m, "BLOCK_N": blocks.block_n, "CAUSAL": causal}
    path = Path(yardstick.__file__)
    source = Source(
        text=path.read_text("utf-8"),
        path=path,
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
    blocks = replace(BLOCKS[head_dim], num_stages=STAGES)
    compiled = dense(target, head_dim, blocks, causal=causal)
    full, partial = full_and_partial(main_loops(compiled.instructions))
    tile = 4.0 * blocks.block_m * blocks.block_n * head_dim
    # Keys and values of a head come from memory once for all query tiles at work on it; the cache holds the rest.
    moved = 2.0 * blocks.block_n * head_dim * 2 * blocks.block_m / length

    def of(loop: Loop | None, useful: float) -> Throughput:
        assert loop is not None
        return predict(loop.mix, compiled.resources, gpu(target), TileDemand(useful, moved))

    if not causal:
        return of(full, tile).flops
    tiles, diagonal = length // blocks.block_m, blocks.block_m // blocks.block_n
    below = tiles * (tiles - 1) / 2 * diagonal
    return combined([(below, tile, of(full, tile)), (tiles * diagonal, tile / 2, of(partial, tile / 2))])


@cache
def patterns(length: int) -> dict[str, attncc.Pattern]:
    """Return the six patterns that the kernels have to compile for."""
    random = np.random.default_rng(0)
    chosen = np.zeros((length // 64, length // 64), np.int64)
    chosen[np.arange(length // 64)[:, None], random.integers(0, length // 64, (length // 64, 3))] = 1
    return {
        "causal": attncc.load("causal"),
        "256-window": attncc.load("sliding_window", window=256),
        "strided l=128": attncc.load("strided", l=128),
        "fixed": attncc.load("fixed", l=128, c=8),
        "document": attncc.load("document", ids=np.sort(random.integers(0, 32, length))).causal(),
        "bigbird": bigbird(chosen=chosen),
    }


@attncc.pattern
def bigbird(i: attncc.Index, j: attncc.Index, *, chosen: attncc.Table) -> attncc.Condition:
    """Blocks of 64: neighbours, two global ones, and `chosen` ones (Zaheer et al. 2020, section 2)."""
    near = abs(i // 64 - j // 64) <= 1
    return near | (i < 128) | (j < 128) | (chosen[i // 64, j // 64] == 1)


def kernels(
    name: str,
    target: str,
    dtype: str,
    head_dim: int,
    length: int,
    forward: Blocks | None = None,
    value_dim: int | None = None,
) -> list[tuple[Variant, Source]]:
    """Return the kernels of a pattern, forward and backward; by default in the backend's own blocks."""
    config = {f"forward.{key}": value for key, value in asdict(forward).items()} if forward else {}
    made = attncc.plan(patterns(length)[name], length, tile=BACKEND.tile, target=target)
    lowered = aot.lower(made, gpu(target), Inputs.given(1, 1, None, head_dim, value_dim, dtype), config=config)
    return [(each, each.unnamed_source) for each in variants(lowered, dtype)]


def decoding(target: str, dtype: str, latent: int = 576, value_dim: int = 512) -> list[tuple[Variant, Source]]:
    """Return the kernels of a step of latent attention, for 128 query heads on one key head whose value is its view."""
    made = attncc.plan(attncc.load("causal"), 1, 8192, q_offset=8191, tile=BACKEND.tile, target=target)
    inputs = Inputs.given(1, 128, 1, latent, value_dim, dtype)
    lowered = aot.lower(made, gpu(target), inputs, latent=True)
    return [(each, each.unnamed_source) for each in variants(lowered, dtype, backward=False)]


@cache
def forward(name: str, target: str, head_dim: int, *, gathered: bool) -> Compiled:
    """Compile the forward kernel of a pattern's pass in identity order, or in a layout that gathers keys."""
    found = (
        source
        for variant, source in kernels(name, target, "fp16", head_dim, 32768, BLOCKS[head_dim])
        if source.name == "forward" and variant.spec.gather_cols == gathered and not variant.spec.split
    )
    return compile(next(found), gpu(target))
